"""Amazon Bedrock: Converse and InvokeModel for Claude and Nova."""
