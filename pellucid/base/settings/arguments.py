"""Errors for calls with unknown or missing arguments; messages contain the argument and the most similar valid name."""

import inspect
from abc import ABCMeta
from collections.abc import Callable, Mapping
from functools import wraps
from typing import TYPE_CHECKING, Any, TypeVar, cast

from pellucid.base.errors import ArgumentError, closest, nearest
from pellucid.base.errors.synonyms import SYNONYMS

F = TypeVar("F", bound=Callable[..., Any])

_OPTIMIZER_ADVICE = "give it to the optimizer: Model(net, optimizer=Adam(lr=0.01))"
_FROM_INPUT_ADVICE = "leave it out: it is taken from the layer's input"
_MODEL_ADVICE = "give it to Model(net, ...)"
_WEIGHTS_ADVICE = "load them: Model(net, input_shape=(3, 224, 224)).load_weights(FILE)"
MIN_SIMILARITY = 0.8  # of a misspelled word and a key of ADVICE, by difflib
# Arguments of other libraries without a counterpart in Pellucid, and what to do instead.
ADVICE: dict[str, str] = {
    "activation": "put the activation after it, as a layer such as ReLU()",
    "in_channels": _FROM_INPUT_ADVICE,
    "in_features": _FROM_INPUT_ADVICE,
    "num_features": _FROM_INPUT_ADVICE,
    "input_dim": _FROM_INPUT_ADVICE,
    "input_shape": "leave it out: Model takes input_shape, or infers it from the data",
    "name": "give the name in its container: Sequential(conv1=Conv2d(...))",
    "weight_decay": "give Model(net, regularizer=L2(...)), or use the optimizer AdamW",
    "momentum": "use the optimizer Momentum, Nesterov or RMSprop",
    "nesterov": "use the optimizer Nesterov",
    "inplace": "leave it out: memory is reused where that changes nothing",
    "shuffle": "leave it out: the examples are shuffled in every epoch",
    "patience": "give fit(callbacks=[EarlyStopping(patience=...)])",
    "early_stopping": "give fit(callbacks=[EarlyStopping(patience=...)])",
    "lr": _OPTIMIZER_ADVICE,
    "learning_rate": _OPTIMIZER_ADVICE,
    "loss": _MODEL_ADVICE,
    "optimizer": _MODEL_ADVICE,
    "metrics": _MODEL_ADVICE,
    "regularizer": _MODEL_ADVICE,
    "schedule": _MODEL_ADVICE,
    "weights": _WEIGHTS_ADVICE,
    "pretrained": _WEIGHTS_ADVICE,
}
# What to give for a required argument whose name does not say it.
MISSING_ARGUMENT_HINTS: dict[str, str] = {
    "what": "; give the name of a tensor or an element, such as 'conv1.weight[0, 0, 2, 2]': trace.names() lists them",
}


class Checked(ABCMeta):
    """Metaclass of public classes: calling such a class with unknown or missing arguments raises ArgumentError.

    Valid calls have no overhead. Abstract methods work as in `abc.ABC`.
    """

    if not TYPE_CHECKING:  # type checkers use the constructor's signature

        def __call__(cls, *args, **kwargs):
            """Return a new object; raises ArgumentError for invalid arguments."""
            try:
                return super().__call__(*args, **kwargs)
            except TypeError:
                check_call(cls.__name__, cls.__signature__, args, kwargs)
                missing = ", ".join(
                    f"{name}{_parameters_text(getattr(cls, name))}" for name in sorted(cls.__abstractmethods__)
                )
                if missing and not cls.__module__.startswith("pellucid."):
                    base = next(kind.__name__ for kind in cls.__mro__ if kind.__module__.startswith("pellucid."))
                    raise ArgumentError(f"{cls.__name__} lacks the methods {missing} of {base}; write them") from None
                raise

    @property
    def __signature__(cls) -> inspect.Signature:
        """The signature of the constructor, used by `inspect.signature` instead of the signature of `__call__`."""
        if cls.__init__ is object.__init__:
            return inspect.Signature()
        signature = inspect.signature(cls.__init__)
        return signature.replace(parameters=list(signature.parameters.values())[1:])


def checked(function: F) -> F:
    """Decorate a function so that calls with unknown or missing arguments raise ArgumentError."""

    @wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except TypeError:
            check_call(function.__name__, inspect.signature(function), args, kwargs)
            raise

    return cast(F, call)


def check_call(name: str, signature: inspect.Signature, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
    """Raise ArgumentError unless the arguments fit the signature; `name` is the function's name in the message."""
    try:
        signature.bind(*args, **kwargs)
    except TypeError as error:
        parameter_names = [parameter for parameter in signature.parameters if parameter != "self"]
        unknown = next((key for key in kwargs if key not in parameter_names), None)
        if unknown is None:
            channels_hint = (
                "; leave out the input channels, which are taken from the input" if "filters" in parameter_names else ""
            )
            hint = channels_hint or next(
                (
                    MISSING_ARGUMENT_HINTS[argument]
                    for argument in MISSING_ARGUMENT_HINTS
                    if f"{argument!r}" in str(error)
                ),
                "",
            )
            raise ArgumentError(f"{name}: {error}; it takes {_arguments_text(signature)}{hint}") from None
        valid_names = {word for parameter in parameter_names for word in (parameter, *SYNONYMS.get(parameter, ()))}
        advised_name = (
            None if unknown in valid_names else closest(unknown, sorted(ADVICE.keys() - valid_names), MIN_SIMILARITY)
        )
        hint = f"; {ADVICE[advised_name]}" if advised_name else nearest(unknown, parameter_names)
        raise ArgumentError(
            f"{name}: no argument {unknown!r}{hint or f'; it takes {_arguments_text(signature)}'}"
        ) from None


def _parameters_text(member: Any) -> str:
    """Return the parameters of a method as text, such as "(self, x)"; "" for a property."""
    return f"({', '.join(inspect.signature(member).parameters)})" if inspect.isfunction(member) else ""


def _arguments_text(signature: inspect.Signature) -> str:
    parameters = [parameter for parameter in signature.parameters.values() if parameter.name != "self"]
    texts = [
        str(parameter.replace(annotation=parameter.empty))
        if parameter.default is parameter.empty
        else f"{parameter.name}={parameter.default!r:.30}"
        for parameter in parameters
    ]
    return ", ".join(texts) or "no arguments"
