"""Google: Gemini API and Vertex AI, named caches and interactions."""
