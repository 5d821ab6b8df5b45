# One way to make a library and one way to make a test, so that every folder's CMakeLists.txt is a list of files.

set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
set(CMAKE_RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bin)
set(CMAKE_UNITY_BUILD_BATCH_SIZE 10)  # where CMAKE_UNITY_BUILD is on: a third of the time from nothing
if(NOT CMAKE_BUILD_TYPE)
  set(CMAKE_BUILD_TYPE Release CACHE STRING "" FORCE)
endif()

find_program(HEADLIGHT_CCACHE ccache)
if(HEADLIGHT_CCACHE AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
  set(CMAKE_CXX_COMPILER_LAUNCHER ${HEADLIGHT_CCACHE})
endif()
find_program(HEADLIGHT_MOLD mold)
find_program(HEADLIGHT_LLD ld.lld)

add_library(headlight_flags INTERFACE)
target_include_directories(headlight_flags INTERFACE ${PROJECT_SOURCE_DIR})
set(headlight_warnings -Wall -Wextra -Wshadow -Wconversion -Wno-sign-conversion -fstack-protector-strong -fno-math-errno)
if(CMAKE_CXX_COMPILER_ID STREQUAL GNU)
  # False alarms of g++ 12: moved-from std::variant members; string concatenation (its bug 105651).
  list(APPEND headlight_warnings -Wno-maybe-uninitialized -Wno-restrict)
endif()
if(CMAKE_UNITY_BUILD AND CMAKE_CXX_COMPILER_ID STREQUAL GNU)
  list(APPEND headlight_warnings -Wno-subobject-linkage)  # asks whether a file is the main file of its unit
endif()
if(HEADLIGHT_WERROR)
  list(APPEND headlight_warnings -Werror)
endif()
target_compile_options(headlight_flags INTERFACE "$<$<COMPILE_LANGUAGE:C,CXX>:${headlight_warnings}>")
target_compile_definitions(headlight_flags INTERFACE
  $<$<NOT:$<CONFIG:Debug>>:_GLIBCXX_ASSERTIONS>)
# Lines in backtraces, no variables: a third of the build's time.
target_compile_options(headlight_flags INTERFACE $<$<AND:$<CONFIG:RelWithDebInfo>,$<COMPILE_LANGUAGE:C,CXX>>:-g1>)
if(HEADLIGHT_MOLD AND NOT HEADLIGHT_SANITIZE)
  target_link_options(headlight_flags INTERFACE -fuse-ld=mold)
elseif(HEADLIGHT_LLD AND CMAKE_CXX_COMPILER_ID MATCHES Clang)
  target_link_options(headlight_flags INTERFACE -fuse-ld=lld)
endif()
if(HEADLIGHT_SANITIZE)
  target_compile_options(headlight_flags INTERFACE -fsanitize=${HEADLIGHT_SANITIZE} -fno-sanitize-recover=all
                                                   -fno-omit-frame-pointer)
  target_link_options(headlight_flags INTERFACE -fsanitize=${HEADLIGHT_SANITIZE})
endif()

if(HEADLIGHT_FUZZ)
  target_compile_options(headlight_flags INTERFACE -fsanitize=fuzzer-no-link)  # coverage of the libraries guides the search
endif()

# headlight_library(kernels SOURCES a.cpp b.cpp PUBLIC headlight::base PRIVATE OpenBLAS)
#   makes target headlight_kernels with alias headlight::kernels.
function(headlight_library name)
  cmake_parse_arguments(ARG "" "" "SOURCES;PUBLIC;PRIVATE" ${ARGN})
  add_library(headlight_${name} STATIC ${ARG_SOURCES})
  add_library(headlight::${name} ALIAS headlight_${name})
  target_link_libraries(headlight_${name} PUBLIC headlight_flags ${ARG_PUBLIC} PRIVATE ${ARG_PRIVATE})
  set_target_properties(headlight_${name} PROPERTIES POSITION_INDEPENDENT_CODE ON)
endfunction()

# Readers and kernels: what the sanitizer builds run.
add_custom_target(sanitized_tests)

# headlight_test(capture SOURCES writer_test.cpp LINK headlight::capture [LABELS slow] [TIMEOUT 120])
#   makes one GoogleTest program <name>_test; every TEST in it becomes one ctest entry.
function(headlight_test name)
  cmake_parse_arguments(ARG "" "TIMEOUT" "SOURCES;LINK;LABELS;ENVIRONMENT" ${ARGN})
  if(NOT ARG_TIMEOUT)
    set(ARG_TIMEOUT 120)
  endif()
  add_executable(${name}_test ${ARG_SOURCES})
  target_link_libraries(${name}_test PRIVATE ${ARG_LINK} headlight_flags GTest::gtest GTest::gmock GTest::gtest_main)
  target_compile_definitions(${name}_test PRIVATE HEADLIGHT_SOURCE_DIR="${PROJECT_SOURCE_DIR}")
  if("sanitize" IN_LIST ARG_LABELS)
    add_dependencies(sanitized_tests ${name}_test)
  endif()
  gtest_discover_tests(${name}_test
    TEST_PREFIX "${name}." DISCOVERY_MODE PRE_TEST
    PROPERTIES TIMEOUT ${ARG_TIMEOUT} LABELS "${ARG_LABELS}" ENVIRONMENT "${ARG_ENVIRONMENT}")
endfunction()
