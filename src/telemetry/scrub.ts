/**
 * The last look at a line before it is written: whatever has the shape of a credential is cut out. The fields of a line are
 * allow-listed before (log.ts); this is for what hides in an error's message. It cuts too much rather than too little.
 *
 * No rule asks for a word boundary before a prefix, because JSON writes a line break as `\n` and a query string a space as
 * `%20`, and both put a letter or digit right before the key. Replacements hold no quote or backslash and no rule takes one in,
 * so JSON stays JSON. Every repetition is bounded or followed by nothing: time is linear in the line.
 */
const rules: readonly (readonly [RegExp, string])[] = [
  // Ours: gateway and admin tokens, seals. AWS key ids: docs.aws.amazon.com, IAM identifiers.
  [/(sp[ats]_|gsk_|xai-|AIza|AKIA|ASIA)[0-9A-Za-z_-]{4,}/g, '$1[redacted]'],
  [/(sk-(?:ant|proj|svcacct|admin|or)-)[0-9A-Za-z_-]+/g, '$1[redacted]'],
  // A bare `sk-` also ends words (`task-`): long ones always, short ones where a word begins.
  [/(?<![0-9A-Za-z])sk-[0-9A-Za-z_-]{4,}|sk-[0-9A-Za-z_-]{16,}/g, 'sk-[redacted]'],
  [/(bearer|basic)((?:\s|\\[nrt]|%20|\+){1,8})[^\s"'\\,;]+/gi, '$1$2[redacted]'],
  [
    /((?:x-api-key|x-goog-api-key|api-key|authorization|x-sallyport-seal|x-sallyport-provider-key|cookie)\\{0,3}["']?[ ]{0,2}[:=,][ ]{0,2}\\{0,3}["']?)(?!(?:bearer|basic)\b)[^"'\\,;]+/gi,
    '$1[redacted]',
  ],
  [/([?&](?:key|api_key|access_token|token)=)[^&\s"'\\]+/gi, '$1[redacted]'],
  [/(:\/\/)[^\s/@"'\\]{1,256}@/g, '$1[redacted]@'],
];

/** What any rule needs to find somewhere: most lines have none of it, and are passed as they are. */
const anything =
  /sp[ats]_|gsk_|xai-|AIza|AKIA|ASIA|sk-|bearer|basic|api-key|authorization|sallyport-|cookie|[?&]\w{0,12}=|:\/\//i;

/** `line` without credentials. Never throws. */
export function scrub(line: string): string {
  if (!anything.test(line)) return line;
  let clean = line;
  for (const [shape, replacement] of rules) clean = clean.replace(shape, replacement);
  return clean;
}
