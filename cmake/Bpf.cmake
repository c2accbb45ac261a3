# How a .bpf.c becomes a library that C++ can link: clang compiles it, bpftool links and strips it and writes
# the skeleton. No vmlinux.h and no BTF of this machine take part, so that a build machine needs no kernel of its own.

find_program(CLOSEWATCH_CLANG NAMES clang-19 clang-20 clang-21 clang-18 clang-17 clang-16 clang REQUIRED)
# Debian keeps bpftool in /usr/sbin, which is not on an ordinary user's PATH.
find_program(CLOSEWATCH_BPFTOOL NAMES bpftool PATHS /usr/sbin /sbin REQUIRED)

# The folder of <asm/types.h>, which linux/types.h wants and clang's bpf target does not look for.
set(CLOSEWATCH_ASM_INCLUDE "/usr/include/${CMAKE_LIBRARY_ARCHITECTURE}")

# closewatch_bpf_object(<output.o> <arch: x86|arm64> <source>)
# The depfile makes a changed header rebuild what includes it.
function(closewatch_bpf_object output arch source)
  add_custom_command(
    OUTPUT ${output}
    COMMAND ${CLOSEWATCH_CLANG} -target bpf -mcpu=v3 -g -O2 -std=gnu17
      -D__TARGET_ARCH_${arch} -Wall -Wextra -Wno-unused-parameter -Werror
      -I${PROJECT_SOURCE_DIR}/include -I${PROJECT_SOURCE_DIR}/bpf -idirafter ${CLOSEWATCH_ASM_INCLUDE}
      -MD -MT ${output} -MF ${output}.d
      -c ${source} -o ${output}
    DEPENDS ${source}
    DEPFILE ${output}.d
    COMMENT "BPF ${arch}: ${source}"
    VERBATIM)
endfunction()

# closewatch_bpf_skeleton(<target> <source.bpf.c> <skeleton name>)
# makes an INTERFACE library whose includers see <name>.skel.h. The includes are SYSTEM: bpftool's C is not ours to lint.
function(closewatch_bpf_skeleton target source name)
  set(dir ${CMAKE_CURRENT_BINARY_DIR}/skeleton)
  file(MAKE_DIRECTORY ${dir})
  set(raw ${dir}/${name}.raw.o)
  set(object ${dir}/${name}.bpf.o)
  set(skeleton ${dir}/${name}.skel.h)
  if(CMAKE_SYSTEM_PROCESSOR MATCHES "aarch64|arm64")
    closewatch_bpf_object(${raw} arm64 ${source})
  else()
    closewatch_bpf_object(${raw} x86 ${source})
  endif()
  add_custom_command(
    OUTPUT ${skeleton}
    COMMAND ${CLOSEWATCH_BPFTOOL} gen object ${object} ${raw}
    COMMAND ${CLOSEWATCH_BPFTOOL} gen skeleton ${object} name ${name} > ${skeleton}.new
    COMMAND ${CMAKE_COMMAND} -E rename ${skeleton}.new ${skeleton}
    DEPENDS ${raw}
    COMMENT "skeleton: ${name}"
    VERBATIM)
  add_custom_target(${target}_generate DEPENDS ${skeleton})
  add_library(${target} INTERFACE)
  target_include_directories(${target} SYSTEM INTERFACE ${dir})
  target_link_libraries(${target} INTERFACE PkgConfig::libbpf)
  add_dependencies(${target} ${target}_generate)
endfunction()
