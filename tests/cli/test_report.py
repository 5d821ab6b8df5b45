"""The report of a capture, as its readers get it."""

import re

from cli_case import CliCase, main
from json_schema import load, problems

SCHEMA = load("analyze-1")

PROMPT = "Hello world, the cat <b>sat</b> on the mat & \"left\". Hello world, the cat sat on the mat again."


class Report(CliCase):
    def page(self, capture, *words):
        path = self.dir / "report.html"
        self.result("report", capture, "-o", path, "--force", *words)
        return path.read_text(encoding="utf-8")

    def test_page_stands_alone(self):
        page = self.page(self.capture("full.h5", prompt=PROMPT))
        for outside in ("<script", "<link", "<iframe", "@import", "src=\"http", "url(http"):
            self.assertNotIn(outside, page)
        self.assertLess(len(page), 3_000_000)
        for title in ("Findings", "Every head", "Sinks", "Telling heads", "Provenance"):
            self.assertIn(title, page)

    def test_text_is_escaped(self):
        page = self.page(self.capture("full.h5", prompt=PROMPT))
        self.assertNotIn("<b>sat", page)
        self.assertIn("&lt;", page)

    def test_summary_says_what_is_missing(self):
        capture = self.capture("summary.h5", "--level", "summary", prompt=PROMPT)
        page = self.page(capture)
        self.assertIn("output-cka: needs qkv", page)
        self.assertTrue(re.search("Every head", page))

    def test_json_lists_the_findings(self):
        capture = self.capture("full.h5", prompt=PROMPT)
        document = self.document("report", capture, "-o", self.dir / "a.html")
        self.assertEqual(problems(document, load("report-1")), [])
        result = document["result"]
        self.assertGreater(result["bytes"], 10_000)
        for finding in result["findings"]:
            self.assertTrue(finding["statement"].endswith("."))
            self.assertIn("analysis", finding["evidence"])
        self.refuse(2, "report", capture, "-o", self.dir / "a.html")
        self.refuse(2, "report", capture, "-o", self.dir / "a.pdf")
        self.refuse(3, "report", self.dir / "missing.h5", "-o", self.dir / "b.html")

    def test_analyze_states_the_same_findings(self):
        capture = self.capture("full.h5", prompt=PROMPT)
        document = self.document("analyze", capture, "--findings")
        self.assertEqual(problems(document, SCHEMA), [])
        result = document["result"]
        report = self.result("report", capture, "-o", self.dir / "a.html")
        self.assertEqual([f["statement"] for f in result["findings"]], [f["statement"] for f in report["findings"]])
        self.assertNotIn("findings", self.result("analyze", capture))
        text = self.run_cli("analyze", capture, "--findings").text
        self.assertIn(result["findings"][0]["statement"], text)
        self.refuse(2, "analyze", capture, "--findings", "--record", "mean", mentions=["--findings"])


if __name__ == "__main__":
    main()
