"""From prompts to stored training images: plan, engine, store."""
