"""The online store on Redis; Feast wants the class and its configuration in one module."""

from typing import Any, Literal

from feast.repo_config import FeastConfigBaseModel
from redis import Redis

from firnline.adapters.feast_online.base import PackedOnlineStore
from firnline.adapters.feast_online.redis_rows import RedisRows

_TYPE = "firnline.adapters.feast_online.redis_store.FirnlineRedisOnlineStore"


class FirnlineRedisOnlineStoreConfig(FeastConfigBaseModel):  # type: ignore[misc]  # no types
    """Where the server is.

    Attributes:
        type: Chooses this store in feature_store.yaml.
        url: `redis://`, `rediss://` or `unix://`, with user, password and database as redis-py
            takes them.
    """

    type: Literal["firnline.adapters.feast_online.redis_store.FirnlineRedisOnlineStore"] = _TYPE  # type: ignore[assignment]
    url: str = "redis://127.0.0.1:6379/0"


class FirnlineRedisOnlineStore(PackedOnlineStore):
    """Packed rows in one Redis server."""

    def __init__(self) -> None:
        self._rows: dict[str, tuple[Redis, RedisRows]] = {}

    def rows(self, config: Any) -> RedisRows:
        """The rows of a Feast configuration."""
        url = config.online_store.url
        if url not in self._rows:
            client = Redis.from_url(url)
            self._rows[url] = (client, RedisRows(client))
        return self._rows[url][1]

    async def close(self) -> None:
        """Close the connections."""
        for client, _ in self._rows.values():
            client.close()
