# -DPLANTED_BUG=name: build everything from copies of the sources with one of tests/sim/bugs planted, to
# look at a bug by hand. For all of them, one after another: tests/sim/bugs/run.
#
# Sets ROOMS_DIR, where the shipped rooms are: the source tree itself, or the patched copy. The copy is made
# when CMake runs; it is made anew when the patch or a source that it touches has changed.
set(PLANTED_BUG "" CACHE STRING "Build with this bug of tests/sim/bugs planted")
set(ROOMS_DIR ${CMAKE_CURRENT_SOURCE_DIR})
if(PLANTED_BUG)
    set(planted_patch ${CMAKE_CURRENT_LIST_DIR}/${PLANTED_BUG}.patch)
    if(NOT EXISTS ${planted_patch})
        message(FATAL_ERROR "there is no bug ${PLANTED_BUG} in ${CMAKE_CURRENT_LIST_DIR}")
    endif()
    find_package(Git REQUIRED)
    set(ROOMS_DIR ${CMAKE_BINARY_DIR}/planted)
    file(REMOVE_RECURSE ${ROOMS_DIR})
    foreach(room proto raft-fsm cluster src)
        file(COPY ${CMAKE_CURRENT_SOURCE_DIR}/${room} DESTINATION ${ROOMS_DIR})
    endforeach()
    # Not the repository around the build directory: git would take the patch for one of that.
    execute_process(
        COMMAND ${CMAKE_COMMAND} -E env GIT_CEILING_DIRECTORIES=${CMAKE_BINARY_DIR}
                ${GIT_EXECUTABLE} apply ${planted_patch}
        WORKING_DIRECTORY ${ROOMS_DIR} RESULT_VARIABLE planted_result)
    if(NOT planted_result EQUAL 0)
        message(FATAL_ERROR "${planted_patch} does not apply")
    endif()
    file(STRINGS ${planted_patch} planted_files REGEX "^\\+\\+\\+ b/")
    list(TRANSFORM planted_files REPLACE "^\\+\\+\\+ b/([^\t ]+).*" "\\1")
    # A copy that is as old as its source would leave what was built from another bug as it is.
    foreach(file ${planted_files})
        file(TOUCH ${ROOMS_DIR}/${file})
        set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/${file})
    endforeach()
    set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${planted_patch})
    message(WARNING "This build has the bug ${PLANTED_BUG} planted. Do not use it for anything else.")
endif()
