"""Names that a model file may call on while it loads, and names that no honest model calls.

An allow-list: what is not on it is not trusted, known to be bad or not. It is used by the scanner and by the flavors
that construct objects from named types. A pattern covers classes of a library whose constructors only keep state.
"""

from __future__ import annotations

import re
import sys

# Functions of numpy that people put into a FunctionTransformer.
NUMPY_FUNCTIONS = frozenset(
    [
        "abs",
        "absolute",
        "arcsinh",
        "cbrt",
        "ceil",
        "clip",
        "cos",
        "deg2rad",
        "exp",
        "expm1",
        "floor",
        "identity",
        "isnan",
        "log",
        "log10",
        "log1p",
        "log2",
        "logical_not",
        "max",
        "mean",
        "median",
        "min",
        "nan_to_num",
        "negative",
        "rad2deg",
        "reciprocal",
        "rint",
        "round",
        "sign",
        "sin",
        "sqrt",
        "square",
        "std",
        "sum",
        "tanh",
        "var",
    ]
)

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
        *(f"numpy.{name}" for name in NUMPY_FUNCTIONS),
        *(f"numpy.{core}.multiarray.{name}" for core in ("core", "_core") for name in ("_reconstruct", "scalar")),
        *(f"numpy.{core}.numeric._frombuffer" for core in ("core", "_core")),
        "numpy.ma.core._mareconstruct",
        "numpy.ma.core.MaskedArray",
        "numpy.ma.MaskedArray",
        "functools.partial",  # keeps a function, which has a name of its own
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
        "scipy._lib.array_api_compat.numpy._aliases.asarray",
        "sklearn.cluster._kmeans._kmeans_single_lloyd",
        "torch.storage.UntypedStorage",
        "torch.storage.TypedStorage",
        "torch._tensor.Tensor",
        "torch.nn.parameter.Parameter",
    }
)

# Modules whose classes keep state and call nothing named in the file. Cython writes __pyx_unpickle_X beside class X.
# Left out of scikit-learn: parts no fitted model holds, which test, fetch, draw, connect, or carry other libraries.
_CLASS = r"(_?[A-Z]\w*|__pyx_unpickle_\w+)"
_SKLEARN_UTILS = "_bunch|_metadata_requests|_weight_vector|_tags|_seq_dataset"
_NO_MODEL = rf"externals|datasets|callback|experimental|conftest|_\w*build\w*|_cyutility|utils(?!\.({_SKLEARN_UTILS})\b)"
_ALLOWED_PATTERNS = re.compile(
    "|".join(
        [
            rf"sklearn(?!\.({_NO_MODEL})\b)(?!.*\.tests?\b)(\.\w+)*\.{_CLASS}",
            r"sklearn\.feature_selection\._univariate_selection\.(f_classif|f_regression|chi2|f_oneway)",
            r"sklearn\.neighbors\._(kd|ball)_tree\.newObj",
            r"sklearn\.metrics\._dist_metrics\.newObj",
            rf"scipy\.sparse(\._\w+)*\.{_CLASS}",
            r"scipy\.sparse(\._\w+)*\.(csr|csc|coo|bsr|dia|dok|lil)_(matrix|array)",
            r"scipy\.(interpolate|spatial|stats)(\._\w+)*\.[A-Z]\w*",
            rf"torch\.nn\.modules(\.\w+)*\.{_CLASS}",
            r"xgboost\.(core\.Booster|sklearn\.XGB\w+)",
            r"lightgbm\.(basic\.Booster|sklearn\.(LGBM\w+|_LGBM\w+))",
        ]
    )
)

# Names that such modules hold but did not make; what these do is not state-keeping.
_BORROWED = frozenset(
    [
        "Client",
        "Connection",
        "GzipFile",
        "LinearOperator",
        "Listener",
        "Memory",
        "MethodType",
        "ModuleType",
        "NamedTemporaryFile",
        "Path",
        "Queue",
        "Request",
        "TemporaryDirectory",
        "Thread",
        "ThreadpoolController",
    ]
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
        "http",
        "httplib",
        "idlelib",
        "imaplib",
        "importlib",
        "inspect",
        "linecache",
        "marshal",
        "mmap",
        "multiprocessing",
        "nt",
        "ntpath",
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
) | {"functools.reduce", "operator.methodcaller", "operator.attrgetter", "logging.config.dictConfig", "io.open"}


def full_name(module: str, name: str) -> str:
    """Write a module and a name in it as one text: ``os.system``, or ``os:path.join`` where the name leads on by itself.

    A pickle may ask a module for ``subprocess.Popen``, which is whatever the module imported; the colon keeps such a
    name apart from those on the list.
    """
    return f"{module}:{name}" if "." in name else f"{module}.{name}"


def is_allowed(name: str) -> bool:
    """Say whether a name, as `full_name` writes it, may be called on by a file that loads."""
    return name in ALLOWED_NAMES or (name.rpartition(".")[2] not in _BORROWED and _ALLOWED_PATTERNS.fullmatch(name) is not None)


def is_blocked(name: str) -> bool:
    """Say whether a name is one that only an attack uses."""
    parts = name.replace(":", ".").split(".")
    return name in BLOCKED_NAMES or parts[0] in BLOCKED_MODULES or (":" in name and not BLOCKED_MODULES.isdisjoint(parts))


def is_at_home(name: str, found: object) -> bool:
    """Say whether what an allowed name led to belongs to the library that the name begins with.

    A class of another library that the module merely imported is not what the list means.
    """
    home = str(getattr(found, "__module__", None) or "").partition(".")[0]
    return name in ALLOWED_NAMES or home == name.partition(".")[0] or home not in sys.modules
