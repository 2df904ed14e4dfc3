# SPDX-License-Identifier: MIT
"""How Sphinx makes HTML pages of these documents: make html."""

import re
from pathlib import Path

project = "ivshmem"
author = "The ivshmem driver project"
# The one place that has it.
version = release = re.search(
    r'^PACKAGE_VERSION="(.*)"$',
    (Path(__file__).parent.parent / "dkms.conf").read_text(), re.M)[1]
extensions = []
# uapi.rst shows the samples and, as they are part of the kernel's documents,
# neither they nor the texts beside them are pages.
exclude_patterns = ["man", "ABI"]
highlight_language = "none"
html_theme = "alabaster"
html_show_copyright = False
html_theme_options = {"description": "Memory and doorbells shared between "
                                     "virtual machines"}
