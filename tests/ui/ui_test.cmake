# The web UI in a browser: Debian's Chromium, driven by Playwright (npm, pinned by version and hash), against the built program. With
# sanitizers, or emulated, it would be too slow for a person's patience, which the tests have.
if(DREAMLAB_SANITIZE OR CMAKE_CROSSCOMPILING)
  return()
endif()
set(source ${CMAKE_CURRENT_LIST_DIR})
set(work ${PROJECT_BINARY_DIR}/ui_test)
dreamlab_fetch_npm(${source} ${work} "What the web UI is tested with")
# Modules of the pages that need no browser, less their types.
file(GLOB modules CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/ui/src/picture/*.ts)
add_custom_command(
  OUTPUT ${work}/picture/made
  COMMAND ${DREAMLAB_NODE} ${PROJECT_BINARY_DIR}/ui/node_modules/esbuild/bin/esbuild ${modules} --outdir=${work}/picture
          --out-extension:.js=.mjs --log-level=warning
  COMMAND ${CMAKE_COMMAND} -E touch ${work}/picture/made
  DEPENDS ${modules} ${PROJECT_BINARY_DIR}/generated/server/ui_files.inc
  COMMENT "Making the web UI's modules ready for tests"
  VERBATIM)
add_custom_target(ui_test ALL DEPENDS ${work}/fetched ${work}/picture/made)
add_dependencies(ui_test dreamlab)
# Beside node_modules, where node looks for what a script imports.
configure_file(${source}/harness.mjs ${work}/harness.mjs COPYONLY)
foreach(subject create gallery picture start_from status views)
  configure_file(${source}/${subject}.test.mjs ${work}/${subject}.test.mjs COPYONLY)
  add_test(NAME ui/${subject} COMMAND ${DREAMLAB_NODE} --test --test-reporter=spec ${work}/${subject}.test.mjs)
  # One at a time: a browser and a server that paints want both processors.
  set_tests_properties(ui/${subject} PROPERTIES
    ENVIRONMENT "DREAMLAB_PROGRAM=$<TARGET_FILE:dreamlab>;DREAMLAB_MODELS=${PROJECT_SOURCE_DIR}/assets/models" RUN_SERIAL ON TIMEOUT 600)
endforeach()
