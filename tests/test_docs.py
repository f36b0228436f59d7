"""The examples of the documentation are run as they stand."""

import re
from pathlib import Path

DOCS = Path(__file__).resolve().parents[1] / "docs"


def test_the_metrics_example_gives_the_scores_that_can_be_counted_by_hand(capsys):
    (code,) = re.findall(r"```python\n(.*?)```", (DOCS / "metrics.md").read_text(encoding="utf-8"), re.DOTALL)
    names: dict[str, object] = {}
    exec(compile(code, "metrics.md", "exec"), names)
    detection, study, sensitivity = capsys.readouterr().out.splitlines()
    assert detection == "1.0 1.0", (
        "both lesions are met; under Anima's rule, too: half of each is covered and little outside"
    )
    shared, voxels = 3 * 4 * 2 + 1 * 2, 4 * 4 * 2 + 2 * 2
    assert study.startswith(f"{2 * shared / (2 * voxels)} 1.0 [('reference', 'detected', 96.0)")
    assert sensitivity == "1.0"
