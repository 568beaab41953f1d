"""Generate text as real prompts have it: handbooks with dates, prices, ids, headings, code, JSON.

The same seed gives the same text. Every sentence may hold digits and capitals, because real ones
do: a diagnosis that was tuned on plain words must not pass here by luck.
"""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable
from typing import Any

_MONTHS = ("January", "March", "May", "June", "September", "October", "November")
_MONATE = ("Januar", "März", "Mai", "Juni", "September", "Oktober", "November")
_MOIS = ("janvier", "mars", "mai", "juin", "septembre", "octobre", "novembre")
_PEOPLE = (
    "Alice Moreau",
    "Boris Nemec",
    "Chiara Conti",
    "Dilek Aydin",
    "Emeka Obi",
    "Farah Haddad",
    "Greta Lund",
    "Hiroshi Sato",
    "Ines Carvalho",
    "Jan de Vries",
    "Kofi Mensah",
    "Lucía Ortega",
)
_PRODUCTS = (
    "Trailhead 2 Tent",
    "Norrland Parka XL",
    "AeroPress Go",
    "Model 3300 Router",
    'OLED G4 65"',
    "RX-78 Drone",
    "Kettle 1.7 L",
    "SSD 990 Pro",
)
_TEAMS = ("Tier-2 Support", "Fraud Desk", "EU Logistics", "Billing Ops", "SRE", "Legal", "People")
_SYSTEMS = ("Zendesk", "SAP S/4HANA", "Salesforce", "PagerDuty", "Jira", "Stripe", "NetSuite")

_ENGLISH = (
    "Orders above {price} placed before {date} may be returned within {n} days (policy {ref}).",
    "If {person} from {team} is on call, page them via {system} and quote {ref}.",
    "As of {date}, version {version} of {system} rejects payloads larger than {n} KB.",
    "The {product} (SKU {sku}) ships from Rotterdam on weekdays; cut-off is {clock} CET.",
    "Never promise a refund over {price} without approval by {team}.",
    "Customers in Germany, Austria and Switzerland get {n} days; in the UK it is {n} days.",
    'Say "I understand" once, then act: customers rated repeated apologies {percent} lower.',
    "Escalate to {team} when the SLA of {n} hours is at risk, or when the claim exceeds {price}.",
    "See section {section} for partial refunds, and https://docs.example.com/kb/{ref} for limits.",
    "Between {date} and {date} the surcharge for bulky goods was {price} per parcel.",
    "Don't use {system} for accounts created before {year}; their records live in the archive.",
    "A failed delivery is re-attempted {n} times; the carrier's code is E{n}{n}.",
    "Release {version} fixed bug {ref}: VAT of {percent} was applied twice on gift cards.",
    "{person} owns this chapter. Last review: {date}. Next review: Q{quarter} {year}.",
    "For the {product}, firmware {version} or later is required; otherwise send the user a link.",
    "Tax invoices carry the number {ref} and are kept for {n} years.",
    "When the user writes in another language, answer in that language, and keep ids as they are.",
    "Loyalty points expire {n} months after the last purchase; {percent} of members never notice.",
    "The warehouse API answers 429 above {n} requests a minute: back off, then retry.",
    "Addresses such as {ip} or ops@example.com belong to staff; do not disclose them.",
)
_GERMAN = (
    "Bestellungen über {price} können bis zum {german_date} zurückgegeben werden.",
    "Laut Vertrag {ref} beträgt die Frist {n} Tage; Ausnahmen genehmigt {person}.",
    "Version {version} der Schnittstelle ist seit {german_date} verpflichtend.",
    "Für Großgeräte gilt ein Zuschlag von {price}, höchstens jedoch {percent} des Warenwerts.",
)
_FRENCH = (
    "Les commandes de plus de {price} passées avant le {french_date} sont remboursées.",
    "À partir du {french_date}, la version {version} est exigée pour l'échange de données.",
    "Le dossier n° {ref} est traité par {person} sous {n} jours ouvrés.",
    "Les frais s'élèvent à {percent} du montant, jusqu'à {price} au maximum.",
)
_OTHERS = (
    "El plazo de devolución es de {n} días; consulte el caso {ref} antes de responder.",
    "返品は{n}日以内に受け付けます。注文番号は{ref}です。",
    "Zwroty powyżej {price} wymagają zgody działu {team}.",
    "يجب الرد خلال {n} ساعة على الطلب رقم {ref}.",
)
_HEADINGS = (
    "Refund windows and exceptions",
    "Delivery promises (EU)",
    "Identity checks",
    "Known incidents",
    "Escalation matrix",
    "Pricing notes {year}",
    "Playbook P{n}: chargebacks",
    "Rücksendungen aus DACH",
    "Remboursements partiels",
    "Tone of voice",
    "Appendix {section}: error codes",
    "Memory of earlier sessions",
)


def make_date(rng: random.Random) -> str:
    year, month, day = rng.randint(2019, 2026), rng.randint(1, 12), rng.randint(1, 28)
    forms = (
        f"{year}-{month:02d}-{day:02d}",
        f"{day} {rng.choice(_MONTHS)} {year}",
        f"{rng.choice(_MONTHS)} {day}, {year}",
        f"{day:02d}/{month:02d}/{year}",
    )
    return rng.choice(forms)


def _price(rng: random.Random) -> str:
    amount = rng.randint(5, 2500)
    return rng.choice((f"€{amount}.90", f"USD {amount:,}.00", f"${amount}.49", f"{amount},90 EUR"))


def make_reference(rng: random.Random) -> str:
    number = rng.randint(100, 99999)
    return rng.choice(
        (
            f"KB-{number}",
            f"INC{number:07d}",
            f"POL-{rng.randint(1, 99)}.{rng.randint(0, 9)}",
            f"{rng.getrandbits(28):07x}",
            f"A{rng.randint(1, 9)}-{number}",
        )
    )


_SLOTS: dict[str, Callable[[random.Random], str]] = {
    "price": _price,
    "date": make_date,
    "german_date": lambda r: f"{r.randint(1, 28)}. {r.choice(_MONATE)} {r.randint(2020, 2026)}",
    "french_date": lambda r: f"{r.randint(2, 28)} {r.choice(_MOIS)} {r.randint(2020, 2026)}",
    "n": lambda r: str(r.choice((2, 3, 5, 7, 10, 14, 24, 28, 30, 36, 45, 60, 90, 120))),
    "ref": make_reference,
    "person": lambda r: r.choice(_PEOPLE),
    "team": lambda r: r.choice(_TEAMS),
    "system": lambda r: r.choice(_SYSTEMS),
    "version": lambda r: f"{r.randint(1, 12)}.{r.randint(0, 30)}.{r.randint(0, 9)}",
    "product": lambda r: r.choice(_PRODUCTS),
    "sku": lambda r: f"{r.choice('ABCDEFG')}{r.choice('KLMNP')}-{r.randint(1000, 9999)}",
    "clock": lambda r: f"{r.randint(7, 22):02d}:{r.choice((0, 15, 30, 45)):02d}",
    "percent": lambda r: f"{r.randint(1, 60)}.{r.randint(0, 9)} %",
    "section": lambda r: f"{r.randint(1, 12)}.{r.randint(1, 9)}",
    "year": lambda r: str(r.randint(2019, 2026)),
    "quarter": lambda r: str(r.randint(1, 4)),
    "ip": lambda r: f"10.{r.randint(0, 255)}.{r.randint(0, 255)}.{r.randint(1, 254)}",
}


def fill(rng: random.Random, template: str) -> str:
    """Fill each `{slot}` of a template with a new value."""
    pieces = template.split("{")
    filled = [pieces[0]]
    for piece in pieces[1:]:
        slot, _, rest = piece.partition("}")
        filled.append(_SLOTS[slot](rng) + rest)
    return "".join(filled)


def make_sentence(rng: random.Random) -> str:
    templates = rng.choices((_ENGLISH, _GERMAN, _FRENCH, _OTHERS), (14, 2, 2, 1))[0]
    return fill(rng, rng.choice(templates))


def make_english_sentence(rng: random.Random) -> str:
    return fill(rng, rng.choice(_ENGLISH))


def make_paragraph(rng: random.Random, sentences: int) -> str:
    return " ".join(make_sentence(rng) for _ in range(sentences))


def make_record(rng: random.Random) -> dict[str, Any]:
    """Return a record as business systems return it."""
    return {
        "id": make_reference(rng),
        "customer": rng.choice(_PEOPLE),
        "createdAt": f"2026-{rng.randint(1, 11):02d}-{rng.randint(1, 28):02d}T0{rng.randint(0, 9)}"
        f":{rng.randint(10, 59)}:00Z",
        "total": rng.randint(100, 99999) / 100,
        "items": [
            {"sku": fill(rng, "{sku}"), "name": rng.choice(_PRODUCTS), "qty": rng.randint(1, 4)}
            for _ in range(rng.randint(1, 3))
        ],
        "note": make_sentence(rng),
        "vip": rng.random() < 0.2,
    }


def _bullets(rng: random.Random) -> str:
    return "\n".join(f"- {make_sentence(rng)}" for _ in range(rng.randint(3, 6)))


def _table(rng: random.Random) -> str:
    rows = [
        f"| {fill(rng, '{sku}')} | {rng.choice(_PRODUCTS)} | {_price(rng)} | {make_date(rng)} |"
        for _ in range(rng.randint(3, 7))
    ]
    return "\n".join(["| SKU | Product | Price | Valid from |", "|---|---|---|---|", *rows])


def _json_example(rng: random.Random) -> str:
    return f"```json\n{json.dumps(make_record(rng), indent=2, ensure_ascii=False)}\n```"


def _code(rng: random.Random) -> str:
    snippets = (
        (
            'def refund(order_id: str, amount: float) -> bool:\n    """Refund at most {price}."""\n'
            '    return client.post(f"/v{n}/orders/{order}/refunds", timeout={n}).ok'
        ),
        "SELECT id, total FROM orders\n WHERE created_at >= '{iso}' AND status = 'OPEN' LIMIT {n};",
        "kubectl -n shop-{n} rollout restart deploy/api --timeout={n}s  # see {ref}",
        "retries: {n}\nregion: eu-central-1\nimage: registry.example.com/api:{version}",
    )
    chosen = rng.choice(snippets).replace("{order}", "ORDER")
    iso = f"2025-{rng.randint(1, 12):02d}-{rng.randint(1, 28):02d}"
    return f"```\n{fill(rng, chosen.replace('{iso}', iso))}\n```"


def _prose(rng: random.Random) -> str:
    return make_paragraph(rng, rng.randint(3, 7))


def make_section(rng: random.Random, number: int) -> str:
    """Return one chapter with a heading and two or three kinds of content."""
    heading = fill(rng, rng.choice(_HEADINGS))
    kinds = rng.choices((_prose, _bullets, _table, _json_example, _code), (6, 3, 1, 1, 1), k=2)
    body = "\n\n".join(kind(rng) for kind in (_prose, *kinds))
    return f"## {number}. {heading}\n\n{body}"


def make_handbook(rng: random.Random, size: int) -> str:
    """Return a handbook of about `size` bytes."""
    owner = f"You are the assistant of {rng.choice(_TEAMS)} at Fjell & Co. (est. 1987)"
    edition = f"Handbook version {fill(rng, '{version}')}, in force since {make_date(rng)}"
    parts = [f"{owner}. {edition}."]
    length = len(parts[0].encode())
    while length < size:
        section = make_section(rng, len(parts))
        parts.append(section)
        length += len(section.encode()) + 2
    return "\n\n".join(parts)


def choose_size(rng: random.Random, smallest: int, largest: int = 40_000) -> int:
    """Return a size in bytes, log-uniform."""
    return round(math.exp(rng.uniform(math.log(smallest), math.log(largest))))


def make_chunk(rng: random.Random) -> str:
    """Return one chunk of a search result, with its source and score."""
    return (
        f"[Source: https://kb.example.com/{make_reference(rng).lower()}#p{rng.randint(1, 40)}, "
        f"updated {make_date(rng)}, score 0.{rng.randint(50, 99)}]\n"
        f"{make_paragraph(rng, rng.randint(3, 7))}"
    )


def make_example(rng: random.Random) -> tuple[str, str]:
    """Return one few-shot example: a message and its classification as JSON."""
    label = {
        "intent": rng.choice(("refund", "delivery", "warranty", "billing", "other")),
        "priority": rng.randint(1, 4),
        "order": make_reference(rng),
        "reason": make_english_sentence(rng),
    }
    return make_paragraph(rng, rng.randint(2, 4)), json.dumps(label, ensure_ascii=False)


def _address_definition() -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {
            "street": {"type": "string", "maxLength": 80},
            "zip": {"type": "string", "pattern": "^[0-9]{4,5}$"},
            "country": {"type": "string", "enum": ["DE", "FR", "NL", "SE"]},
        },
        "required": ["street", "zip", "country"],
    }


_TOOL_VERBS = ("find", "list", "update", "cancel", "create", "verify", "send", "refund", "track")
_TOOL_NOUNS = ("orders", "parcels", "tickets", "invoices", "claims", "stock", "accounts", "notes")
_FIELDS = ("orderId", "customer_email", "reason", "since", "amount", "locale", "dryRun", "tags")


def _property(rng: random.Random, name: str) -> dict[str, Any]:
    kinds: tuple[dict[str, Any], ...] = (
        {"type": "string", "enum": sorted(rng.sample(("OPEN", "PAID", "LOST", "HELD", "VOID"), 3))},
        {"type": "string", "format": "date", "examples": ["2026-11-02"]},
        {"type": "number", "minimum": 0, "maximum": rng.choice((100, 250, 5000))},
        {"type": "array", "items": {"type": "string"}, "maxItems": rng.randint(2, 20)},
        {"type": "boolean", "default": False},
    )
    return {**rng.choice(kinds), "description": f"{name}: {make_english_sentence(rng)}"}


def make_tool(rng: random.Random, number: int) -> dict[str, Any]:
    """Return a tool with a nested schema: definitions, enums, required fields."""
    noun = _TOOL_NOUNS[(number * 3) % 8]
    properties = {name: _property(rng, name) for name in rng.sample(_FIELDS, rng.randint(2, 5))}
    schema: dict[str, Any] = {"type": "object", "properties": properties}
    if rng.random() < 0.6:
        properties["address"] = {"$ref": "#/$defs/Address"}
        schema["$defs"] = {"Address": _address_definition()}
    schema["required"] = list(properties)[:2]
    schema["additionalProperties"] = False
    return {
        "name": f"{_TOOL_VERBS[number % 9]}_{noun}",
        "description": make_paragraph(rng, rng.randint(1, 4)),
        "parameters": schema,
    }
