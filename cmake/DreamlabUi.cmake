# dreamlab_ui(TARGET): gives TARGET the table server/ui_files.inc, the pages of ui/ as they are sent. They are built with npm packages
# that ui/package-lock.json pins.
include(DreamlabNpm)

function(dreamlab_ui target)
  set(source ${PROJECT_SOURCE_DIR}/ui)
  set(work ${PROJECT_BINARY_DIR}/ui)
  set(table ${PROJECT_BINARY_DIR}/generated/server/ui_files.inc)
  set(configs index.html tsconfig.json vite.config.ts)
  file(GLOB_RECURSE pages CONFIGURE_DEPENDS ${source}/src/*)
  list(TRANSFORM configs PREPEND ${source}/ OUTPUT_VARIABLE config_files)
  dreamlab_fetch_npm(${source} ${work} "What the web UI is built with")
  add_custom_command(
    OUTPUT ${table}
    # Packages are found beside the sources, and the source tree stays clean: the sources go to the packages.
    COMMAND ${CMAKE_COMMAND} -E rm -rf src dist
    COMMAND ${CMAKE_COMMAND} -E copy_directory ${source}/src src
    COMMAND ${CMAKE_COMMAND} -E copy ${config_files} .
    COMMAND ${DREAMLAB_NODE} node_modules/typescript/bin/tsc --noEmit
    COMMAND ${DREAMLAB_NODE} node_modules/vite/bin/vite.js build --logLevel warn
    COMMAND ${DREAMLAB_NODE} ${source}/embed.mjs dist ${table}
    DEPENDS ${work}/fetched ${pages} ${config_files} ${source}/embed.mjs
    WORKING_DIRECTORY ${work}
    COMMENT "Building the web UI"
    VERBATIM)
  target_sources(${target} PRIVATE ${table})
  target_include_directories(${target} PRIVATE ${PROJECT_BINARY_DIR}/generated)
endfunction()
