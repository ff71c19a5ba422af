# dreamlab_fetch_npm(SOURCE WORK WHAT): a rule that installs the npm packages that SOURCE/package-lock.json pins into WORK/node_modules
# and leaves WORK/fetched, to depend on. WHAT they are, for messages.
find_program(DREAMLAB_NPM npm)
find_program(DREAMLAB_NODE NAMES node nodejs)
mark_as_advanced(DREAMLAB_NPM DREAMLAB_NODE)
if(NOT DREAMLAB_NPM OR NOT DREAMLAB_NODE)
  message(FATAL_ERROR " The CLIP vocabulary and the web UI are brought by npm, and npm or node is missing: apt-get install npm")
endif()

function(dreamlab_fetch_npm source work what)
  set(script ${PROJECT_SOURCE_DIR}/cmake/fetch_npm_packages.cmake)
  add_custom_command(
    OUTPUT ${work}/fetched
    COMMAND ${CMAKE_COMMAND} -DNPM=${DREAMLAB_NPM} -DSOURCE=${source} -DWORK=${work} "-DWHAT=${what}" -P ${script}
    DEPENDS ${source}/package.json ${source}/package-lock.json ${source}/.npmrc ${script}
    COMMENT "Fetching with npm: ${what}"
    VERBATIM)
endfunction()
