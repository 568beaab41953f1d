# Made by: promptcache alerts honeycomb
# NOT RUN LIVE: promptcache's tests have no account there. Written from these pages, November 2026:
#   api-docs.honeycomb.io/api/triggers
#   docs.honeycomb.io/api/calculated-fields/create-a-calculated-field
#   docs.honeycomb.io/notify/triggers/create
#   github.com/honeycombio/terraform-provider-honeycombio, docs/resources (formulas need 0.47.0 or newer)
# One trigger suffices: by formula (hit rate and traffic as the definition has them), by calculated field, or by
# the attribute promptcache.shortfall_tokens, whose target is OTEL_PROMPTCACHE_TARGET, for plans without formulas.

terraform {
  required_providers {
    honeycombio = {
      source  = "honeycombio/honeycombio"
      version = ">= 0.47.0"
    }
  }
}

resource "honeycombio_derived_column" "promptcache_shortfall" {
  alias       = "promptcache_shortfall"
  expression  = "SUB(MUL(0.5, $promptcache.input_tokens), $promptcache.read_tokens)"
  description = "Tokens missing to a hit rate of 0.5; negative above it; sums without bias."
}

resource "honeycombio_trigger" "hit_rate" {
  name        = "Prompt cache hit rate below 50%"
  description = "Over 5m, fewer than 50% of the input tokens came from the provider's cache, with at least 100,000 input tokens. Calls with outcome unreported and batch results are left out. Runbook: docs/runbooks/hit-rate-low.md"
  frequency   = 120
  alert_type  = "on_change"
  dataset     = "__all__"
  query_json = jsonencode({
    "breakdowns" : [
      "service.name",
      "gen_ai.request.model"
    ],
    "time_range" : 300,
    "calculations" : [
      {
        "op" : "SUM",
        "column" : "promptcache.read_tokens",
        "name" : "read",
        "filters" : [
          {
            "column" : "promptcache.outcome",
            "op" : "not-in",
            "value" : [
              "unreported"
            ]
          },
          {
            "column" : "promptcache.batch",
            "op" : "does-not-exist"
          }
        ],
        "filter_combination" : "AND"
      },
      {
        "op" : "SUM",
        "column" : "promptcache.input_tokens",
        "name" : "input",
        "filters" : [
          {
            "column" : "promptcache.outcome",
            "op" : "not-in",
            "value" : [
              "unreported"
            ]
          },
          {
            "column" : "promptcache.batch",
            "op" : "does-not-exist"
          }
        ],
        "filter_combination" : "AND"
      }
    ],
    "formulas" : [
      {
        "name" : "hit_rate",
        "expression" : "IF(GTE($input, 100000), DIV($read, $input), 1)"
      }
    ]
  })
  threshold {
    op             = "<"
    value          = 0.5
    exceeded_limit = 3
  }
}

resource "honeycombio_trigger" "shortfall_field" {
  name        = "Prompt cache short of its target (field)"
  description = "Fires where the sum over 5m exceeds 50000: so many tokens fewer than the target were read. With nothing read that is 100,000 input tokens; the nearer the rate is to the target, the more traffic it takes. Runbook: docs/runbooks/hit-rate-low.md"
  frequency   = 120
  alert_type  = "on_change"
  dataset     = "__all__"
  query_json = jsonencode({
    "breakdowns" : [
      "service.name",
      "gen_ai.request.model"
    ],
    "time_range" : 300,
    "calculations" : [
      {
        "op" : "SUM",
        "column" : "promptcache_shortfall"
      }
    ],
    "filters" : [
      {
        "column" : "promptcache.outcome",
        "op" : "not-in",
        "value" : [
          "unreported"
        ]
      },
      {
        "column" : "promptcache.batch",
        "op" : "does-not-exist"
      }
    ],
    "filter_combination" : "AND"
  })
  threshold {
    op             = ">"
    value          = 50000.0
    exceeded_limit = 3
  }
}

resource "honeycombio_trigger" "shortfall_attribute" {
  name        = "Prompt cache short of its target"
  description = "Fires where the sum over 5m exceeds 50000: so many tokens fewer than the target were read. With nothing read that is 100,000 input tokens; the nearer the rate is to the target, the more traffic it takes. Runbook: docs/runbooks/hit-rate-low.md"
  frequency   = 120
  alert_type  = "on_change"
  dataset     = "__all__"
  query_json = jsonencode({
    "breakdowns" : [
      "service.name",
      "gen_ai.request.model"
    ],
    "time_range" : 300,
    "calculations" : [
      {
        "op" : "SUM",
        "column" : "promptcache.shortfall_tokens"
      }
    ],
    "filters" : [
      {
        "column" : "promptcache.outcome",
        "op" : "not-in",
        "value" : [
          "unreported"
        ]
      },
      {
        "column" : "promptcache.batch",
        "op" : "does-not-exist"
      }
    ],
    "filter_combination" : "AND"
  })
  threshold {
    op             = ">"
    value          = 50000.0
    exceeded_limit = 3
  }
}

resource "honeycombio_query" "hit_rate" {
  dataset = "__all__"
  query_json = jsonencode({
    "breakdowns" : [
      "service.name",
      "gen_ai.request.model"
    ],
    "time_range" : 86400,
    "calculations" : [
      {
        "op" : "SUM",
        "column" : "promptcache.read_tokens",
        "name" : "read",
        "filters" : [
          {
            "column" : "promptcache.outcome",
            "op" : "not-in",
            "value" : [
              "unreported"
            ]
          },
          {
            "column" : "promptcache.batch",
            "op" : "does-not-exist"
          }
        ],
        "filter_combination" : "AND"
      },
      {
        "op" : "SUM",
        "column" : "promptcache.input_tokens",
        "name" : "input",
        "filters" : [
          {
            "column" : "promptcache.outcome",
            "op" : "not-in",
            "value" : [
              "unreported"
            ]
          },
          {
            "column" : "promptcache.batch",
            "op" : "does-not-exist"
          }
        ],
        "filter_combination" : "AND"
      }
    ],
    "formulas" : [
      {
        "name" : "hit_rate",
        "expression" : "IF(GTE($input, 100000), DIV($read, $input), 1)"
      }
    ]
  })
}

resource "honeycombio_query_annotation" "hit_rate" {
  dataset  = "__all__"
  query_id = honeycombio_query.hit_rate.id
  name     = "Hit rate"
}

resource "honeycombio_query" "tokens" {
  dataset = "__all__"
  query_json = jsonencode({
    "breakdowns" : [
      "service.name",
      "gen_ai.request.model"
    ],
    "time_range" : 86400,
    "calculations" : [
      {
        "op" : "SUM",
        "column" : "promptcache.input_tokens"
      },
      {
        "op" : "SUM",
        "column" : "promptcache.read_tokens"
      }
    ],
    "filters" : [
      {
        "column" : "promptcache.outcome",
        "op" : "exists"
      }
    ]
  })
}

resource "honeycombio_query_annotation" "tokens" {
  dataset  = "__all__"
  query_id = honeycombio_query.tokens.id
  name     = "Tokens read, and all input"
}

resource "honeycombio_query" "outcomes" {
  dataset = "__all__"
  query_json = jsonencode({
    "breakdowns" : [
      "promptcache.outcome"
    ],
    "time_range" : 86400,
    "calculations" : [
      {
        "op" : "COUNT"
      }
    ],
    "filters" : [
      {
        "column" : "promptcache.outcome",
        "op" : "exists"
      }
    ]
  })
}

resource "honeycombio_query_annotation" "outcomes" {
  dataset  = "__all__"
  query_id = honeycombio_query.outcomes.id
  name     = "Calls by outcome"
}

resource "honeycombio_query" "reasons" {
  dataset = "__all__"
  query_json = jsonencode({
    "breakdowns" : [
      "promptcache.miss.reason"
    ],
    "time_range" : 86400,
    "calculations" : [
      {
        "op" : "SUM",
        "column" : "promptcache.wasted_usd"
      }
    ],
    "filters" : [
      {
        "column" : "promptcache.outcome",
        "op" : "exists"
      }
    ]
  })
}

resource "honeycombio_query_annotation" "reasons" {
  dataset  = "__all__"
  query_id = honeycombio_query.reasons.id
  name     = "Waste by cause (USD)"
}

resource "honeycombio_query" "prefixes" {
  dataset = "__all__"
  query_json = jsonencode({
    "breakdowns" : [
      "promptcache.prefix.hash"
    ],
    "time_range" : 86400,
    "calculations" : [
      {
        "op" : "SUM",
        "column" : "promptcache.missed_tokens"
      },
      {
        "op" : "SUM",
        "column" : "promptcache.wasted_usd"
      }
    ],
    "filters" : [
      {
        "column" : "promptcache.outcome",
        "op" : "exists"
      }
    ]
  })
}

resource "honeycombio_query_annotation" "prefixes" {
  dataset  = "__all__"
  query_id = honeycombio_query.prefixes.id
  name     = "Prefixes that miss most"
}

resource "honeycombio_query" "money" {
  dataset = "__all__"
  query_json = jsonencode({
    "breakdowns" : [
      "service.name",
      "gen_ai.request.model"
    ],
    "time_range" : 86400,
    "calculations" : [
      {
        "op" : "SUM",
        "column" : "promptcache.cost.amount"
      },
      {
        "op" : "SUM",
        "column" : "promptcache.cost.saved"
      }
    ],
    "filters" : [
      {
        "column" : "promptcache.outcome",
        "op" : "exists"
      }
    ]
  })
}

resource "honeycombio_query_annotation" "money" {
  dataset  = "__all__"
  query_id = honeycombio_query.money.id
  name     = "Cost and savings (USD)"
}

resource "honeycombio_flexible_board" "promptcache" {
  name = "Prompt cache"

  panel {
    type = "query"
    query_panel {
      query_id            = honeycombio_query.hit_rate.id
      query_annotation_id = honeycombio_query_annotation.hit_rate.id
    }
  }

  panel {
    type = "query"
    query_panel {
      query_id            = honeycombio_query.tokens.id
      query_annotation_id = honeycombio_query_annotation.tokens.id
    }
  }

  panel {
    type = "query"
    query_panel {
      query_id            = honeycombio_query.outcomes.id
      query_annotation_id = honeycombio_query_annotation.outcomes.id
    }
  }

  panel {
    type = "query"
    query_panel {
      query_id            = honeycombio_query.reasons.id
      query_annotation_id = honeycombio_query_annotation.reasons.id
    }
  }

  panel {
    type = "query"
    query_panel {
      query_id            = honeycombio_query.prefixes.id
      query_annotation_id = honeycombio_query_annotation.prefixes.id
    }
  }

  panel {
    type = "query"
    query_panel {
      query_id            = honeycombio_query.money.id
      query_annotation_id = honeycombio_query_annotation.money.id
    }
  }
}
