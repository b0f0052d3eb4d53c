# Pants reads this before every BUILD file: what each package and each app consists of, said once.


def member(name, test_dependencies=()):
    """Targets of one member: its sources, tests, and the wheel and sdist that hatchling builds.

    The version is not said here: hatchling reads it from the member's pyproject.toml, its one home.
    """
    resources(name="typed", sources=["src/**/py.typed"])  # noqa: F821
    resources(name="metadata", sources=["pyproject.toml", "README.md", "CHANGELOG.md"])  # noqa: F821
    resources(name="configs", sources=["configs/**/*.yaml"])  # noqa: F821
    python_sources(name="src", sources=["src/**/*.py"], dependencies=[":typed"])  # noqa: F821
    python_test_utils(  # noqa: F821
        name="test_utils", sources=["tests/**/*.py", "!tests/**/test_*.py"]
    )
    python_tests(  # noqa: F821
        name="tests",
        sources=["tests/**/test_*.py"],
        dependencies=["//:conftest", ":metadata", ":configs", *test_dependencies],
    )
    python_distribution(  # noqa: F821
        name="dist",
        dependencies=[":metadata", ":configs", ":src", ":typed"],
        provides=python_artifact(name=name),  # noqa: F821
        generate_setup=False,
        wheel=True,
        sdist=True,
    )
