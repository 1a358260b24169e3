"""Git as the judge: what Git itself makes of a merge or a history, to compare with.

Begin with judge.py. Imports storage's formats alone.
"""

from app.judge.judge import Judge, Trees
from app.judge.local_history import FileChange, History, HistoryError, SourceCommit, fit_ident, fit_time
from app.judge.renames import may_rename, split_renames
from app.judge.source_merges import Files, MergeHistory, SourceMerge, after

__all__ = [
    "FileChange", "Files", "History", "HistoryError", "Judge", "MergeHistory", "SourceCommit", "SourceMerge", "Trees",
    "after", "fit_ident", "fit_time", "may_rename", "split_renames",
]  # fmt: skip
