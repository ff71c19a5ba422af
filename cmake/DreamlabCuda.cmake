# libdreamlab_cuda.so, in lib/ of the build tree: the CUDA device, where a CUDA toolkit with cuDNN is found.
#   DREAMLAB_CUDA                AUTO (default), ON (an error where something is missing) or OFF
#   DREAMLAB_CUDA_ARCHITECTURES  as CMAKE_CUDA_ARCHITECTURES; from the environment where that names it
# To be included once the room tensor is there.
set(DREAMLAB_CUDA AUTO CACHE STRING "Build the CUDA device: AUTO, ON or OFF")
set(architectures 80-real 86-real 89-real 90-real 100-real 120-real 120-virtual)
if(DEFINED ENV{DREAMLAB_CUDA_ARCHITECTURES})
  set(architectures $ENV{DREAMLAB_CUDA_ARCHITECTURES})
endif()
set(DREAMLAB_CUDA_ARCHITECTURES "${architectures}" CACHE STRING "GPU architectures to compile for")

function(dreamlab_cuda_missing what)
  if(DREAMLAB_CUDA STREQUAL "ON")
    message(FATAL_ERROR "DREAMLAB_CUDA is ON, but ${what}")
  endif()
  message(STATUS "No CUDA device will be built: ${what}")
endfunction()

# The sanitizers cannot see into CUDA's libraries.
if(DREAMLAB_CUDA STREQUAL "OFF" OR DREAMLAB_SANITIZE)
  return()
endif()
if(NOT CMAKE_CUDA_COMPILER AND NOT DEFINED ENV{CUDACXX})
  find_program(nvcc nvcc HINTS /usr/local/cuda/bin /opt/cuda/bin NO_CACHE)
  if(nvcc)
    set(CMAKE_CUDA_COMPILER ${nvcc} CACHE FILEPATH "nvcc")
  endif()
endif()
include(CheckLanguage)
check_language(CUDA)
if(NOT CMAKE_CUDA_COMPILER)
  dreamlab_cuda_missing("there is no nvcc (put it on PATH or name it in CUDACXX)")
  return()
endif()
set(CMAKE_CUDA_ARCHITECTURES ${DREAMLAB_CUDA_ARCHITECTURES})
if(NOT CMAKE_CUDA_HOST_COMPILER)
  find_program(host_compiler NAMES g++-12 g++ NO_CACHE)
  set(CMAKE_CUDA_HOST_COMPILER ${host_compiler})
endif()
enable_language(CUDA)
if(NOT CMAKE_CUDA20_STANDARD_COMPILE_OPTION)
  set(CMAKE_CUDA20_STANDARD_COMPILE_OPTION -std=c++20)  # CMake 3.25 does not know it of CUDA 13
  set(CMAKE_CUDA20_EXTENSION_COMPILE_OPTION -std=c++20)
endif()
find_package(CUDAToolkit 12.4)
if(NOT CUDAToolkit_FOUND)
  dreamlab_cuda_missing("CUDA 12.4 or later was not found")
  return()
endif()
find_path(CUDNN_INCLUDE cudnn_graph.h HINTS ${CUDAToolkit_INCLUDE_DIRS} $ENV{CUDNN_PATH}/include)
find_library(CUDNN_LIBRARY cudnn HINTS ${CUDAToolkit_LIBRARY_DIR} $ENV{CUDNN_PATH}/lib $ENV{CUDNN_PATH}/lib64)
if(NOT CUDNN_INCLUDE OR NOT CUDNN_LIBRARY)
  dreamlab_cuda_missing("cuDNN 9 was not found (its place may be named in CUDNN_PATH)")
  return()
endif()

file(GLOB sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/src/device/cuda/*.cpp ${PROJECT_SOURCE_DIR}/src/device/cuda/*.cu)
# Hopper's own instructions exist on sm_90a alone: these sources are compiled for it, or not at all.
set(hopper_sources ${sources})
list(FILTER hopper_sources INCLUDE REGEX "/hopper_[a-z_0-9]+\\.cu$")
list(REMOVE_ITEM sources ${hopper_sources})
if("${DREAMLAB_CUDA_ARCHITECTURES}" MATCHES "(^|;)90")
  add_library(dreamlab_cuda_hopper OBJECT ${hopper_sources})
  set_target_properties(dreamlab_cuda_hopper PROPERTIES
    UNITY_BUILD OFF CUDA_ARCHITECTURES 90a-real CUDA_VISIBILITY_PRESET hidden VISIBILITY_INLINES_HIDDEN ON
    POSITION_INDEPENDENT_CODE ON)
  target_compile_options(dreamlab_cuda_hopper PRIVATE -Xcompiler=-Wall,-Wextra -Werror=all-warnings)
  target_include_directories(dreamlab_cuda_hopper PRIVATE ${PROJECT_SOURCE_DIR}/src)
  target_link_libraries(dreamlab_cuda_hopper PRIVATE dreamlab_tensor)
  list(APPEND sources $<TARGET_OBJECTS:dreamlab_cuda_hopper>)
endif()
add_library(dreamlab_cuda MODULE ${sources} ${PROJECT_SOURCE_DIR}/src/device/block_arena.cpp
  ${PROJECT_SOURCE_DIR}/src/device/device.cpp ${PROJECT_SOURCE_DIR}/src/device/memory_pool.cpp
  ${PROJECT_SOURCE_DIR}/src/device/shape_checks.cpp)
set_target_properties(dreamlab_cuda PROPERTIES
  UNITY_BUILD OFF
  CXX_VISIBILITY_PRESET hidden CUDA_VISIBILITY_PRESET hidden VISIBILITY_INLINES_HIDDEN ON
  CUDA_RUNTIME_LIBRARY Static
  LIBRARY_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/lib
  BUILD_RPATH "${CUDAToolkit_LIBRARY_DIR}"
  INSTALL_RPATH "$ORIGIN")
target_compile_options(dreamlab_cuda PRIVATE
  $<$<COMPILE_LANGUAGE:CXX>:-Wall;-Wextra;-Werror>
  $<$<COMPILE_LANGUAGE:CUDA>:-Xcompiler=-Wall,-Wextra;-Werror=all-warnings>)
target_compile_definitions(dreamlab_cuda PRIVATE DREAMLAB_VERSION="${PROJECT_VERSION}"
  $<$<TARGET_EXISTS:dreamlab_cuda_hopper>:DREAMLAB_HOPPER>)
target_include_directories(dreamlab_cuda PRIVATE ${PROJECT_SOURCE_DIR}/src ${CUDNN_INCLUDE})
target_link_libraries(dreamlab_cuda PRIVATE dreamlab_tensor CUDA::cublasLt ${CUDNN_LIBRARY} ${CMAKE_DL_LIBS})
message(STATUS "The CUDA device will be built for ${DREAMLAB_CUDA_ARCHITECTURES}")
