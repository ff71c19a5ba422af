set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
set(CMAKE_UNITY_BUILD_BATCH_SIZE 6)
if(DEFINED ENV{DREAMLAB_UNITY_BUILD})
  # Kept: CMake may run again by itself, where the variable is not set.
  set(CMAKE_UNITY_BUILD $ENV{DREAMLAB_UNITY_BUILD} CACHE BOOL "Compile several sources at once" FORCE)
endif()

option(DREAMLAB_BUILD_TESTS "Build the tests" ON)
option(DREAMLAB_BUILD_BENCH "Build the Google Benchmark programs in bench/" ON)
option(DREAMLAB_BUILD_FUZZ "Build the libFuzzer targets in tests/fuzz (clang only)" OFF)
set(DREAMLAB_SANITIZE "" CACHE STRING "Sanitizers to build with, as in -fsanitize=: address,undefined or thread")

if(NOT CMAKE_BUILD_TYPE AND NOT CMAKE_CONFIGURATION_TYPES)
  set(CMAKE_BUILD_TYPE Release CACHE STRING "" FORCE)
endif()

add_library(dreamlab_options INTERFACE)
target_compile_options(dreamlab_options INTERFACE -Wall -Wextra -Werror)
if(CMAKE_UNITY_BUILD AND CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  # To g++ a source that is included in another might be a header, whose types must not hold those of anonymous namespaces.
  target_compile_options(dreamlab_options INTERFACE -Wno-subobject-linkage)
endif()
if(DREAMLAB_SANITIZE)
  target_compile_options(dreamlab_options INTERFACE -fsanitize=${DREAMLAB_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all)
  target_link_options(dreamlab_options INTERFACE -fsanitize=${DREAMLAB_SANITIZE})
  if(DREAMLAB_SANITIZE MATCHES thread AND CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    # Asio has fences, which ThreadSanitizer does not see; it synchronizes by mutexes besides.
    target_compile_options(dreamlab_options INTERFACE -Wno-tsan)
  endif()
  if(DREAMLAB_SANITIZE MATCHES undefined AND CMAKE_CXX_COMPILER_ID STREQUAL "Clang")
    # Clang 14 cannot compile coroutines with -fsanitize=function.
    # -fsanitize=vptr asks the system for a pipe to look at an object it does not know yet. The tests that use up the
    # descriptors leave none, and then every object passes for a broken one.
    target_compile_options(dreamlab_options INTERFACE -fno-sanitize=function,vptr)
  endif()
endif()

find_program(DREAMLAB_CCACHE ccache)
if(DREAMLAB_CCACHE)
  set(CMAKE_CXX_COMPILER_LAUNCHER ${DREAMLAB_CCACHE})
endif()
