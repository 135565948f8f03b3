/**
 * Model names that may stand in a metric's label. A caller writes the model, so without a closed list anyone with a token could
 * fill a Prometheus. Families, without the date that providers append; sources: the providers' model pages.
 */
const families: ReadonlySet<string> = new Set(
  `gpt-3.5-turbo gpt-4 gpt-4-turbo gpt-4o gpt-4o-mini gpt-4.1 gpt-4.1-mini gpt-4.1-nano gpt-4.5-preview gpt-5 gpt-5-mini gpt-5-nano
  gpt-5-pro gpt-5-codex gpt-5-chat gpt-5.1 gpt-5.2 gpt-oss-20b gpt-oss-120b o1 o1-mini o1-pro o3 o3-mini o3-pro o4-mini codex-mini
  gpt-image-1 dall-e-2 dall-e-3 whisper-1 tts-1 tts-1-hd gpt-4o-transcribe gpt-4o-mini-transcribe gpt-4o-mini-tts gpt-realtime gpt-audio
  text-embedding-3-small text-embedding-3-large text-embedding-ada-002 omni-moderation
  claude-3-haiku claude-3-sonnet claude-3-opus claude-3-5-haiku claude-3-5-sonnet claude-3-7-sonnet claude-sonnet-4 claude-opus-4
  claude-opus-4-1 claude-sonnet-4-5 claude-haiku-4-5 claude-opus-4-5
  gemini-1.5-pro gemini-1.5-flash gemini-2.0-flash gemini-2.0-flash-lite gemini-2.5-pro gemini-2.5-flash gemini-2.5-flash-lite
  gemini-3-pro-preview gemini-embedding-001 text-embedding-004
  llama-3.1-8b-instant llama-3.3-70b-versatile llama-4-scout-17b-16e-instruct llama-4-maverick-17b-128e-instruct qwen3-32b
  kimi-k2-instruct deepseek-r1-distill-llama-70b whisper-large-v3 whisper-large-v3-turbo compound compound-mini
  grok-2 grok-3 grok-3-mini grok-4 grok-4-fast grok-4-fast-reasoning grok-4-fast-non-reasoning grok-code-fast-1`.split(
    /\s+/,
  ),
);

/** `openai/gpt-4o-2024-08-06` → `gpt-4o`; a name of nobody's → `other`. */
export function modelLabel(model: string | null): string {
  if (model === null || model.length > 100) return 'other';
  if (families.has(model)) return model;
  const bare = model.slice(model.lastIndexOf('/') + 1).replace(/-(\d{4}-\d\d-\d\d|\d{8}|latest)$/, '');
  return families.has(bare) ? bare : 'other';
}
