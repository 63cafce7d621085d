"""What a deployment writes down of its requests and answers.

Source of keys and defaults: Azure ML CLI v2, ``managedOnlineDeployment.schema.json``, and "Collect production data from models".
"""

from __future__ import annotations

from ..errors import InvalidInput
from ..records import Record, convert, field
from .datastore import DEFAULT_DATASTORE

ROLLING_RATES = ("year", "month", "day", "hour", "minute")
MAX_COLLECTIONS = 5
# Headers that prove who somebody is. They are never written, whoever asks for them.
SECRET_HEADERS = {
    *("authorization", "proxy-authorization", "cookie", "set-cookie", "x-api-key", "api-key", "x-auth-token", "x-csrf-token"),
    *("x-xsrftoken", "ocp-apim-subscription-key", "x-functions-key", "x-amz-security-token"),
}


class CollectedAsset(Record):
    """Where a collection's rows lie, and the name under which Azure lists them."""

    name: str | None = None
    version: str | None = None
    path: str | None = field(default=None, help="Folder, as azureml://datastores/workspaceblobstore/paths/FOLDER.")
    data_id: str | None = None

    def _check(self) -> None:
        if self.path is not None:
            folder_of(self.path)


class DeploymentCollection(Record):
    """One collection: model_inputs, model_outputs, request, response, mirror, or a name that the scoring script uses.

    Raises
    ------
    InvalidInput
        If ``enabled`` is neither true nor false, or the rows shall lie elsewhere than in the default datastore.
    """

    enabled: bool = field(help="Whether it is written; the texts 'True' and 'False' count too.")
    data: str | CollectedAsset | None = field(
        default=None, help="Where: a folder of the default datastore. A data asset's name is accepted."
    )
    client_id: str | None = None

    def _check(self) -> None:
        self.enabled = convert(self.enabled, bool, "enabled")
        if isinstance(self.data, str) and "/paths/" in self.data:
            folder_of(self.data, "data")

    @property
    def folder(self) -> str | None:
        """The folder below the default datastore that was asked for; None for the usual one."""
        path = self.data.path if isinstance(self.data, CollectedAsset) else self.data
        return folder_of(path) if path and "/paths/" in path else None


class RequestLogging(Record):
    """What the collections request and response hold beside the body.

    Raises
    ------
    InvalidInput
        If a header is asked for that carries a secret.
    """

    capture_headers: list[str] = field(default=[], help="Names of headers to write.")

    def _check(self) -> None:
        secret = next((name for name in self.capture_headers if is_secret(name)), None)
        if secret is not None:
            message = f'capture_headers names "{secret}": headers that carry keys, tokens or cookies are never written. Leave it out.'
            raise InvalidInput(message, key="capture_headers")


class DataCollector(Record):
    """What is collected from a deployment.

    Raises
    ------
    InvalidInput
        If there are more than five collections, or the sampling rate is not between 0 and 1.
    """

    collections: dict[str, DeploymentCollection] = {}
    rolling_rate: str = field(default="hour", choices=ROLLING_RATES, help="How often a new folder begins.")
    sampling_rate: float = field(default=1.0, help="Share of the requests, from 0 to 1; a request's rows go together.")
    request_logging: RequestLogging | None = None

    def _check(self) -> None:
        if len(self.collections) > MAX_COLLECTIONS:
            raise InvalidInput(
                f"There are {len(self.collections)} collections; a deployment has at most {MAX_COLLECTIONS}.", key="collections"
            )
        for name in self.collections:
            if not name.replace("_", "").replace("-", "").isalnum() or not name.isascii():
                raise InvalidInput(f'The collection "{name}" needs a name of letters, digits, _ and -.', key=f"collections.{name}")
        if not 0.0 <= self.sampling_rate <= 1.0:
            raise InvalidInput(f"sampling_rate is {self.sampling_rate:g}; it is a share, from 0 to 1.", key="sampling_rate")


def is_secret(header: str) -> bool:
    """Say whether a header carries a secret by its name."""
    return header.strip().lower() in SECRET_HEADERS


def folder_of(path: str, key: str = "path") -> str:
    """Return the folder below the default datastore that a reference names.

    Raises
    ------
    InvalidInput
        If it names another place.
    """
    from ..references import DatastorePath, parse_reference

    reference = parse_reference(path)
    if not isinstance(reference, DatastorePath) or reference.datastore != DEFAULT_DATASTORE:
        raise InvalidInput(
            f'"{path}" is no folder of the default datastore; write azureml://datastores/{DEFAULT_DATASTORE}/paths/FOLDER.', key=key
        )
    return reference.path.strip("/")
