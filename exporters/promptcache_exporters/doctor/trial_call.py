"""The program that the doctor records: one call of an installed SDK against the emulator."""

from __future__ import annotations

import sys

_PROMPT = "Say yes."


def main(sdk: str, url: str) -> None:
    """Make one call to the emulator at `url` with `sdk`: `openai` or `anthropic`."""
    if sdk == "openai":
        import openai

        openai.OpenAI(base_url=f"{url}/v1", api_key="none").chat.completions.create(
            model="gpt-5.4", messages=[{"role": "user", "content": _PROMPT}]
        )
    else:
        import anthropic

        anthropic.Anthropic(base_url=url, api_key="none").messages.create(
            model="claude-sonnet-4-5",
            max_tokens=9,
            messages=[{"role": "user", "content": _PROMPT}],
        )


if __name__ == "__main__":
    main(*sys.argv[1:])
