/** Hosts of custom keys whose prices are listed; `*.` stands for one label. Sources: the providers' API references. */
const hosts: readonly (readonly [host: string, list: string])[] = [
  ['api.anthropic.com', 'anthropic'],
  ['*.openai.azure.com', 'azure'],
  ['*.services.ai.azure.com', 'azure'],
  ['*.cognitiveservices.azure.com', 'azure'],
  ['api.cerebras.ai', 'cerebras'],
  ['api.cohere.com', 'cohere'],
  ['api.cohere.ai', 'cohere'],
  ['api.deepseek.com', 'deepseek'],
  ['api.fireworks.ai', 'fireworks'],
  ['generativelanguage.googleapis.com', 'google'],
  ['api.groq.com', 'groq'],
  ['api.mistral.ai', 'mistral'],
  ['api.moonshot.ai', 'moonshotai'],
  ['api.moonshot.cn', 'moonshotai'],
  ['api.openai.com', 'openai'],
  ['openrouter.ai', 'openrouter'],
  ['api.together.xyz', 'together'],
  ['api.together.ai', 'together'],
  ['api.x.ai', 'xai'],
];

/** The list of prices that holds for an origin; null where nobody lists them. What a known provider charges is its list, wherever the operator reaches it. */
export function priceListOf(provider: string, origin: string): string | null {
  if (provider !== 'custom') return provider;
  const host = URL.parse(origin)?.host ?? '';
  const found = hosts.find(([pattern]) =>
    pattern.startsWith('*.') ? host.slice(host.indexOf('.')) === pattern.slice(1) : host === pattern,
  );
  return found?.[1] ?? null;
}
