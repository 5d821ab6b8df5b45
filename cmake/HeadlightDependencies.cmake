# Every third-party library the project uses, found in one place. scripts/install-packages names the Debian packages.

find_package(PkgConfig REQUIRED)
find_package(Threads REQUIRED)
find_package(fmt REQUIRED)
find_package(spdlog REQUIRED)
find_package(nlohmann_json REQUIRED)
find_package(CLI11 REQUIRED)
find_package(Eigen3 3.4 REQUIRED NO_MODULE)
find_package(HDF5 REQUIRED COMPONENTS C HL)
pkg_check_modules(PCRE2 REQUIRED IMPORTED_TARGET libpcre2-8)
pkg_check_modules(UTF8PROC REQUIRED IMPORTED_TARGET libutf8proc)
pkg_check_modules(NETTLE REQUIRED IMPORTED_TARGET nettle)
pkg_check_modules(DEFLATE REQUIRED IMPORTED_TARGET libdeflate)

# oneDNN for f32 matrix products. Its own CMake package asks for OpenCL headers that sgemm does not need.
find_path(DNNL_INCLUDE_DIR oneapi/dnnl/dnnl.h REQUIRED)
find_library(DNNL_LIBRARY dnnl REQUIRED)
add_library(headlight_dnnl INTERFACE)
target_include_directories(headlight_dnnl SYSTEM INTERFACE ${DNNL_INCLUDE_DIR})
target_link_libraries(headlight_dnnl INTERFACE ${DNNL_LIBRARY} gomp)

# Debian's spdlog links the system fmt; SPDLOG_FMT_EXTERNAL comes with the target.
add_library(headlight_hdf5 INTERFACE)
target_include_directories(headlight_hdf5 SYSTEM INTERFACE ${HDF5_C_INCLUDE_DIRS})
target_link_libraries(headlight_hdf5 INTERFACE ${HDF5_C_LIBRARIES} ${HDF5_C_HL_LIBRARIES})

if(HEADLIGHT_QT)
  find_package(Qt6 6.4 REQUIRED COMPONENTS Core Gui Svg)
endif()
if(HEADLIGHT_TESTS)
  find_package(GTest REQUIRED)
  include(GoogleTest)
endif()
if(HEADLIGHT_BENCH)
  find_package(benchmark REQUIRED)
endif()
