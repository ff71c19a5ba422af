# cmake -DNPM=npm -DSOURCE=tools/vocabulary -DWORK=dir "-DWHAT=The CLIP vocabulary" -P fetch_npm_packages.cmake
# Installs what the lock file in SOURCE names into WORK, so that the source tree stays clean, and leaves the file WORK/fetched.
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
  string(REGEX REPLACE ".*npm (ERR!|error) code ([A-Z0-9_]+).*" "\\2" reason "${output}")
  # A message that begins with a blank is not broken into lines.
  message(FATAL_ERROR " ${WHAT} could not be fetched: ${reason}. npm must reach its registry or have the package in its cache.")
endif()
file(TOUCH ${WORK}/fetched)
