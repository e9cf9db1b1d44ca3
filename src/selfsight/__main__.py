"""`python -m selfsight`, for torchrun and for where the script is not on the path."""

from selfsight.cli import main

raise SystemExit(main())
