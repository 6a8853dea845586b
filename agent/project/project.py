"""A project as agents see it: its instructions and skills, and the digest that a person trusts."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from fastslow.agent.project.files import digest_of
from fastslow.agent.project.instructions import NAMES, Instructions, folder_of, nested, read_instructions
from fastslow.agent.project.skills import PLACES, Skills, project_skills, together, user_skills
from fastslow.agent.quoting import visible
from fastslow.sandbox.paths import workspace_path

NESTED = 200  # folders below the root whose instructions are read


@dataclass(frozen=True, slots=True)
class Project:
    """What is told to the model of a project, once a person trusts it; no field of it changes what may run.

    skills: the project's and the user's. digest: of all that comes from the project, and of nothing else: of its
    instructions, of those below the root, and of its skills with their files; empty where there is nothing, so nothing
    to trust. nested: path and text of the instructions below the root. own: the user's skills alone. notices: for
    people, of all parts.
    """

    root: Path
    instructions: Instructions
    skills: Skills
    digest: str
    nested: tuple[tuple[str, str], ...]
    own: Skills
    notices: tuple[str, ...]

    def on_the_way(self, path: str) -> list[tuple[str, str]]:
        """The instructions in folders on the way to a path below the root, the nearest last (`nested`)."""
        try:
            touched = PurePosixPath(workspace_path(path))
        except ValueError:
            return []
        return [(file, text) for file, text in self.nested if touched.is_relative_to(_folder(file))]

    def described(self) -> tuple[str, ...]:
        """What a person is asked to trust, a line for each thing, safe to print."""
        instructions = [*self.instructions.sources, *(file for file, _ in self.nested)]
        skills = [skill for skill in self.skills if skill.source == "project"]
        return (
            *(f"instructions {visible(file)}" for file in instructions),
            *(f"skill {skill.name} ({len(skill.files)} files): {visible(skill.description)}" for skill in skills),
        )

    def untrusted(self) -> Project:
        """What may be used while nobody has trusted it: the user's own skills, and a notice of what is not used."""
        if not self.digest:
            return self
        count = len(self.described())
        notice = (
            f"{count} instructions and skills of {visible(str(self.root))} are not used, since you have not trusted "
            "them as they are now; --trust does"
        )
        return replace(
            self,
            instructions=Instructions(),
            skills=self.own,
            digest="",
            nested=(),
            notices=(*self.own.notices, notice),
        )


def project_of(root: Path, home: Path | None = None, paths: Iterable[str] = ()) -> Project:
    """All that the project in a folder tells agents, and the user's own skills.

    home: the user's, by itself that of whoever runs this. paths: those of the tree, relative to the root; what is named
    AGENTS.md among them, below the root, becomes `nested`. Raises ConfigurationError where root is no folder.
    """
    root = folder_of(root)
    instructions = read_instructions(root, home=home)
    theirs, own = project_skills(root, home), user_skills(home)
    skills = together(theirs, own)
    below, notices = _nested(root, paths)
    told = [
        instructions.digest,
        [list(each) for each in below],
        [[str(skill.folder.relative_to(root)), skill.name, skill.digest] for skill in theirs],
    ]
    return Project(
        root,
        instructions,
        skills,
        digest_of(told) if any(told) else "",
        below,
        own,
        (*instructions.notices, *notices, *skills.notices),
    )


def tells_agents(path: str) -> bool:
    """Whether a file of a project is one that agents are told of in their own way, and only where that is trusted."""
    return path.rpartition("/")[2] in NAMES or path.startswith(tuple(f"{place}/" for place in PLACES))


def _nested(root: Path, paths: Iterable[str]) -> tuple[tuple[tuple[str, str], ...], list[str]]:
    """The instructions below the root, those of outer folders first, and notices on them."""
    folders = {_folder(path) for path in paths if path.rpartition("/")[2] in NAMES} - {PurePosixPath()}
    listed = sorted(folders, key=lambda folder: (len(folder.parts), folder))
    found = [each[-1] for folder in listed[:NESTED] if (each := nested(root, str(folder)))]
    left = len(listed) - NESTED
    notices = [f"the instructions of {left} folders are not read: {NESTED} is the limit"] if left > 0 else []
    return tuple(each for each in found if _folder(each[0]) in folders), notices


def _folder(path: str) -> PurePosixPath:
    return PurePosixPath(path).parent
