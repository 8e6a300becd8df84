"""What the meta checks share: the project's folders, its tracked source files, and how a finding is reported."""
import pathlib
import re
import subprocess
import sys

LAYER_FOLDERS = ("core", "schema", "gpu", "tensor", "data", "quant", "optim", "nn", "io", "trainer")
SOURCE_ENDINGS = (".h", ".cpp", ".cu", ".cuh")
CODE_ENDINGS = SOURCE_ENDINGS + (".py", ".sh", ".cmake")


class Project:
    def __init__(self, root):
        self.root = pathlib.Path(root).resolve()
        listed = subprocess.run(["git", "-C", str(self.root), "ls-files", "-co", "--exclude-standard", "-z"],
                                capture_output=True, text=True)
        if listed.returncode == 0:
            names = [n for n in listed.stdout.split("\0") if n]
        else:  # an unpacked archive: no git, and build folders are told by their names
            names = [str(p.relative_to(self.root)) for p in self.root.rglob("*") if p.is_file()]
            names = [n for n in names if not re.match(r"(build[^/]*|\.deps|\.git|runs)/", n) and "__pycache__" not in n]
        self.files = sorted(n for n in set(names) if (self.root / n).is_file())

    def read(self, name):
        return (self.root / name).read_text(encoding="utf-8")

    def sources(self, folders=LAYER_FOLDERS, endings=SOURCE_ENDINGS):
        return [n for n in self.files if n.split("/")[0] in folders and n.endswith(endings)]


def without_comments(text):
    """C++ text with comments blanked, line numbers kept; string literals stay."""
    pattern = re.compile(r'//[^\n]*|/\*.*?\*/|("(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\')', re.S)
    return pattern.sub(lambda m: m.group(1) if m.group(1) else re.sub(r"[^\n]", " ", m.group(0)), text)


def line_of(text, offset):
    return text.count("\n", 0, offset) + 1


def finish(findings, passed):
    """Prints each finding on a line of its own and exits with 1, or says what was found in order."""
    for finding in findings:
        print(finding)
    if findings:
        print(f"{len(findings)} finding(s)")
        sys.exit(1)
    print(passed)


def project_from_arguments():
    if len(sys.argv) != 2:
        sys.exit(f"usage: {sys.argv[0]} PROJECT_FOLDER")
    return Project(sys.argv[1])
