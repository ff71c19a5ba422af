# test_corpus runs every file of tests/fuzz/corpus/NAME through the entry function of NAME.cpp, with any compiler.
file(GLOB fuzz_sources CONFIGURE_DEPENDS ${CMAKE_CURRENT_LIST_DIR}/fuzz_*.cpp)
set(fuzz_targets "")
foreach(source ${fuzz_sources})
  get_filename_component(name ${source} NAME_WE)
  set_source_files_properties(${source} PROPERTIES COMPILE_DEFINITIONS LLVMFuzzerTestOneInput=${name})
  string(APPEND fuzz_targets " TARGET(${name})")
endforeach()
add_executable(test_corpus ${CMAKE_CURRENT_LIST_DIR}/corpus_test.cpp ${fuzz_sources})
target_link_libraries(test_corpus PRIVATE dreamlab_options dreamlab_server GTest::gtest_main)
target_compile_definitions(test_corpus PRIVATE
  "DREAMLAB_FUZZ_TARGETS=${fuzz_targets}"
  DREAMLAB_CORPUS_DIR="${CMAKE_CURRENT_LIST_DIR}/corpus")
gtest_discover_tests(test_corpus TEST_PREFIX corpus/ DISCOVERY_TIMEOUT 60 PROPERTIES TIMEOUT 600)
