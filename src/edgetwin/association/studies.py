"""The studies of placement, by their whole names: the paper's, since it has two problems."""

from edgetwin.association import figures, migration_study, step_figures, time_figures, transfer_study

STUDIES = {**figures.STUDIES, **step_figures.STUDIES, **time_figures.STUDIES, **migration_study.STUDIES, **transfer_study.STUDIES}
