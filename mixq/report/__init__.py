"""Reports of a build folder: JSON files for programs, one HTML page and a short summary for people."""

from mixq.report.html import write_html
from mixq.report.json_files import write_json_reports
from mixq.report.summary import summary
from mixq.report.vivado import write_vivado_report

__all__ = ["summary", "write_html", "write_json_reports", "write_vivado_report"]
