# The official OpenAI client (npm), pinned by version and hash, and a script that uses it: for test_server.
set(source ${CMAKE_CURRENT_LIST_DIR}/openai_client)
set(work ${PROJECT_BINARY_DIR}/openai_client)
dreamlab_fetch_npm(${source} ${work} "The OpenAI client (npm package openai)")
add_custom_target(openai_client DEPENDS ${work}/fetched)
# Beside node_modules, where node looks for what a script imports.
configure_file(${source}/client.mjs ${work}/client.mjs COPYONLY)
add_dependencies(test_server openai_client)
target_compile_definitions(test_server PRIVATE
  DREAMLAB_NODE="${DREAMLAB_NODE}"
  DREAMLAB_OPENAI_CLIENT="${work}/client.mjs")
