"""A named cache on Gemini: create it, read it with every question, extend its TTL, delete it.

    opentelemetry-instrument python examples/gemini_cache.py

Set the key in `GOOGLE_API_KEY`. `GOOGLE_GEMINI_BASE_URL` selects another server, such as
`promptcache emulate`. The spans of the questions have the hash of the cached prompt. The spans of
the cache have its storage cost.
"""

from __future__ import annotations

from typing import Any

from google import genai
from google.genai import types

MODEL = "gemini-2.5-flash"
HANDBOOK = "\n".join(
    f"Rule {number}: a refund is possible within {10 + number % 20} days of delivery "
    "if the box is complete."
    for number in range(1, 301)
)
QUESTIONS = ["Can I return boots that I wore once?", "How long do I have?", "Do I need the box?"]


def main() -> None:
    """Ask all questions about one handbook."""
    client: Any = genai.Client()  # some of its types come from libraries that may be absent
    config = types.CreateCachedContentConfig(
        system_instruction=f"Follow the handbook.\n\n{HANDBOOK}", ttl="600s"
    )
    cache = client.caches.create(model=MODEL, config=config)
    if cache.name is None:
        raise SystemExit("The server created no cache.")
    reading = types.GenerateContentConfig(cached_content=cache.name)
    for question in QUESTIONS:
        print(client.models.generate_content(model=MODEL, contents=question, config=reading).text)
    client.caches.update(name=cache.name, config=types.UpdateCachedContentConfig(ttl="1200s"))
    for chunk in client.models.generate_content_stream(
        model=MODEL, contents="Thank you!", config=reading
    ):
        print(chunk.text or "", end="")
    print()
    client.caches.delete(name=cache.name)
    client.close()


if __name__ == "__main__":
    main()
