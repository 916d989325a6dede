# cmake --install: bin/hedgehog, the recipes beside it in share/hedgehog/recipes, and LibTorch's libraries in lib/hedgehog, where the
# program's run path points to, so that the installed tree can be moved.

include(GNUInstallDirs)
set_target_properties(hedgehog_cli PROPERTIES INSTALL_RPATH "$ORIGIN/../${CMAKE_INSTALL_LIBDIR}/hedgehog")
install(TARGETS hedgehog_cli RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
install(DIRECTORY "${PROJECT_SOURCE_DIR}/recipes/" DESTINATION ${CMAKE_INSTALL_DATADIR}/hedgehog/recipes)
install(DIRECTORY "${HEDGEHOG_LIBTORCH}/lib/" DESTINATION ${CMAKE_INSTALL_LIBDIR}/hedgehog FILES_MATCHING PATTERN "*.so*")
install(FILES "${PROJECT_SOURCE_DIR}/LICENSE" DESTINATION ${CMAKE_INSTALL_DOCDIR})
