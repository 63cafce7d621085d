"""Names that a model file may call on while it loads, and names that no honest model calls.

An allow-list: what is not on it is not trusted, known to be bad or not. It is used by the scanner and by the flavors
that construct objects from named types. A pattern covers classes of a library whose constructors only keep state.
"""

from __future__ import annotations

import re

ALLOWED_NAMES = frozenset(
    {
        *(
            f"builtins.{name}"
            for name in [
                "bool",
                "bytearray",
                "bytes",
                "complex",
                "dict",
                "float",
                "frozenset",
                "int",
                "list",
                "object",
                "range",
                "set",
                "slice",
                "str",
                "tuple",
            ]
        ),
        *(
            f"__builtin__.{name}"
            for name in [
                "bool",
                "complex",
                "dict",
                "float",
                "frozenset",
                "int",
                "list",
                "long",
                "object",
                "set",
                "slice",
                "str",
                "tuple",
                "unicode",
                "xrange",
            ]
        ),
        "_codecs.encode",
        "collections.Counter",
        "collections.OrderedDict",
        "collections.defaultdict",
        "collections.deque",
        "copy_reg._reconstructor",
        "copyreg._reconstructor",
        *(f"datetime.{name}" for name in ["date", "datetime", "time", "timedelta", "timezone"]),
        "decimal.Decimal",
        "fractions.Fraction",
        "uuid.UUID",
        "joblib.numpy_pickle.NumpyArrayWrapper",
        *(
            f"numpy.{name}"
            for name in [
                "dtype",
                "ndarray",
                "matrix",
                "float16",
                "float32",
                "float64",
                "int8",
                "int16",
                "int32",
                "int64",
                "uint8",
                "uint16",
                "uint32",
                "uint64",
                "bool_",
                "bool",
                "str_",
            ]
        ),
        *(
            f"numpy.{name}"
            for name in [
                "mean",
                "median",
                "std",
                "var",
                "sum",
                "min",
                "max",
                "sqrt",
                "exp",
                "log",
                "log1p",
                "expm1",
                "abs",
                "absolute",
                "sin",
                "cos",
                "tanh",
                "sign",
                "square",
                "identity",
            ]
        ),
        *(f"numpy.{core}.multiarray.{name}" for core in ("core", "_core") for name in ("_reconstruct", "scalar")),
        *(f"numpy.{core}.numeric._frombuffer" for core in ("core", "_core")),
        "numpy.ma.core._mareconstruct",
        "numpy.ma.core.MaskedArray",
        *(f"numpy.random._pickle.{name}" for name in ["__bit_generator_ctor", "__generator_ctor", "__randomstate_ctor"]),
        *(
            f"numpy.random.{name}"
            for name in ["_mt19937.MT19937", "_pcg64.PCG64", "mtrand.RandomState", "_generator.Generator", "bit_generator.SeedSequence"]
        ),
        *(
            f"pandas.core.{name}"
            for name in ["frame.DataFrame", "series.Series", "internals.managers.BlockManager", "internals.managers.SingleBlockManager"]
        ),
        *(f"pandas._libs.internals.{name}" for name in ("_unpickle_block", "BlockPlacement")),
        *(
            f"pandas.core.indexes.{name}"
            for name in ["base._new_Index", "base.Index", "range.RangeIndex", "multi.MultiIndex", "datetimes.DatetimeIndex"]
        ),
        *(f"pandas.core.dtypes.dtypes.{name}" for name in ("CategoricalDtype", "DatetimeTZDtype")),
        "pandas.core.arrays.categorical.Categorical",
        *(
            f"torch._utils.{name}"
            for name in ["_rebuild_tensor", "_rebuild_tensor_v2", "_rebuild_parameter", "_rebuild_parameter_with_state"]
        ),
        *(f"torch.{kind}Storage" for kind in ["Float", "Double", "Half", "BFloat16", "Long", "Int", "Short", "Char", "Byte", "Bool"]),
        *(
            f"torch.{name}"
            for name in [
                "Size",
                "Tensor",
                "device",
                "float16",
                "float32",
                "float64",
                "bfloat16",
                "int8",
                "int16",
                "int32",
                "int64",
                "uint8",
                "bool",
            ]
        ),
        "numpy.random.bit_generator.__pyx_unpickle_SeedSequence",
        "torch.storage.UntypedStorage",
        "torch.storage.TypedStorage",
        "torch._tensor.Tensor",
        "torch.nn.parameter.Parameter",
    }
)

# Modules whose classes keep state and call nothing named in the file. Cython writes __pyx_unpickle_X beside class X.
_CLASS = r"(_?[A-Z]\w*|__pyx_unpickle_\w+)"
_ALLOWED_PATTERNS = re.compile(
    "|".join(
        [
            rf"sklearn(\.\w+)*\.{_CLASS}",
            r"sklearn\.feature_selection\._univariate_selection\.(f_classif|f_regression|chi2|f_oneway)",
            r"sklearn\.neighbors\._(kd|ball)_tree\.newObj",
            r"sklearn\.metrics\._dist_metrics\.newObj",
            r"sklearn\.gaussian_process\.kernels\.\w+",
            r"skops\.io\.\w+\.[A-Z]\w*",
            rf"scipy\.sparse(\._\w+)*\.{_CLASS}",
            r"scipy\.sparse(\._\w+)*\.(csr|csc|coo|bsr|dia|dok|lil)_(matrix|array)",
            r"scipy\.(interpolate|spatial|stats)(\._\w+)*\.[A-Z]\w*",
            rf"torch\.nn\.modules(\.\w+)*\.{_CLASS}",
            r"xgboost\.(core|sklearn)\.[A-Z]\w*",
            r"lightgbm\.(basic|sklearn)\.[A-Z]\w*",
        ]
    )
)

# Roots of modules that an honest model never names; a hit means an attack, not a missing entry above.
BLOCKED_MODULES = frozenset(
    [
        "asyncio",
        "bdb",
        "cProfile",
        "code",
        "codeop",
        "commands",
        "compileall",
        "ctypes",
        "distutils",
        "ensurepip",
        "ftplib",
        "functools",
        "http",
        "httplib",
        "idlelib",
        "imaplib",
        "importlib",
        "inspect",
        "linecache",
        "logging",
        "marshal",
        "mmap",
        "multiprocessing",
        "nt",
        "ntpath",
        "operator",
        "os",
        "pdb",
        "pickle",
        "pip",
        "pkgutil",
        "platform",
        "poplib",
        "popen2",
        "posix",
        "posixpath",
        "profile",
        "pty",
        "pydoc",
        "requests",
        "runpy",
        "shutil",
        "signal",
        "smtplib",
        "socket",
        "socketserver",
        "ssl",
        "subprocess",
        "sys",
        "sysconfig",
        "telnetlib",
        "tempfile",
        "threading",
        "timeit",
        "trace",
        "tty",
        "types",
        "urllib",
        "urllib2",
        "venv",
        "webbrowser",
        "zipimport",
        "_posixsubprocess",
        "_io",
        "io",
    ]
)
BLOCKED_NAMES = frozenset(
    f"{module}.{name}"
    for module in ("builtins", "__builtin__")
    for name in [
        "__import__",
        "apply",
        "breakpoint",
        "compile",
        "delattr",
        "eval",
        "exec",
        "execfile",
        "exit",
        "getattr",
        "globals",
        "input",
        "locals",
        "open",
        "quit",
        "setattr",
        "vars",
    ]
)


def is_allowed(name: str) -> bool:
    """Say whether a dotted name may be called on by a file that loads."""
    return name in ALLOWED_NAMES or _ALLOWED_PATTERNS.fullmatch(name) is not None


def is_blocked(name: str) -> bool:
    """Say whether a dotted name is one that only an attack uses."""
    return name in BLOCKED_NAMES or name.partition(".")[0] in BLOCKED_MODULES
