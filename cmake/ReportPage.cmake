# The report page's parts and the library of charts go into hedgehog_analysis as bytes.

if(NOT EXISTS "${HEDGEHOG_VEGA}/vega.js")
  message(FATAL_ERROR "Vega-Lite is not at ${HEDGEHOG_VEGA}: run scripts/setup, or set HEDGEHOG_VEGA")
endif()

set(page "${PROJECT_SOURCE_DIR}/hedgehog/analysis/page")
set_source_files_properties(
  hedgehog/analysis/report_page.cc
  PROPERTIES SKIP_UNITY_BUILD_INCLUSION ON  # so that a changed page compiles this file alone
             COMPILE_DEFINITIONS "HEDGEHOG_PAGE_DIRECTORY=\"${page}\";HEDGEHOG_VEGA=\"${HEDGEHOG_VEGA}\""
             OBJECT_DEPENDS "${page}/report.html;${page}/report.css;${page}/report.js;${HEDGEHOG_VEGA}/vega.js")
