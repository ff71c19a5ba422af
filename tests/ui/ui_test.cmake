# The web UI in a browser: Debian's Chromium, driven by Playwright (npm, pinned by version and hash), against the built program. With
# sanitizers it would be too slow for a person's patience, which the tests have.
if(DREAMLAB_SANITIZE)
  return()
endif()
set(source ${CMAKE_CURRENT_LIST_DIR})
set(work ${PROJECT_BINARY_DIR}/ui_test)
dreamlab_fetch_npm(${source} ${work} "What the web UI is tested with")
add_custom_target(ui_test ALL DEPENDS ${work}/fetched)
# Beside node_modules, where node looks for what a script imports.
foreach(name harness.mjs ui.test.mjs)
  configure_file(${source}/${name} ${work}/${name} COPYONLY)
endforeach()
add_test(NAME ui/Browser COMMAND ${DREAMLAB_NODE} --test --test-reporter=spec ${work}/ui.test.mjs)
set_tests_properties(ui/Browser PROPERTIES
  ENVIRONMENT "DREAMLAB_PROGRAM=$<TARGET_FILE:dreamlab>" RUN_SERIAL ON TIMEOUT 600)
