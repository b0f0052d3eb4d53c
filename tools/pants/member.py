# Pants reads this before every BUILD file: what each package and each app consists of, said once.


def member(name, test_dependencies=()):
    """Targets of one member: its sources, tests, and the wheel and sdist that hatchling builds.

    The version is not said here: hatchling reads `__version__` from the member's `__init__.py`, its one home.
    """
    resources(name="metadata", sources=["pyproject.toml", "README.md", "CHANGELOG.md"])
    resources(name="configs", sources=["configs/**/*.yaml"])
    python_test_utils(name="test_utils", sources=["tests/**/*.py", "!tests/**/test_*.py"])
    python_tests(
        name="tests",
        sources=["tests/**/test_*.py"],
        dependencies=["//:conftest", ":metadata", ":configs", *test_dependencies],
    )
    python_distribution(
        name="dist",
        dependencies=[":metadata", ":configs", f"{build_file_dir()}/src", f"{build_file_dir()}/src:typed"],
        provides=python_artifact(name=name),
        generate_setup=False,
        wheel=True,
        sdist=True,
    )


def member_sources():
    """A member's modules, declared in its src/, which so becomes the folder that imports start from."""
    resources(name="typed", sources=["**/py.typed"])
    # A face is lazy: its stub (.pyi) names what it offers, for type checkers and at run time.
    python_sources(sources=["**/*.py", "**/*.pyi"], dependencies=[":typed"])
