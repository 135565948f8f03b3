/** Methods that are remembered; of any other there is no second call worth it. */
const methods = ['GET', 'POST', 'PUT', 'PATCH', 'DELETE', 'HEAD', 'OPTIONS'] as const;
/** Per method. Whoever sends more different paths gets the answers at the price that they have without. */
const maxPaths = 256;
const maxPathLength = 128;

/**
 * What depends on a request's method and path alone, decided once for each: most calls are for the same few endpoints. (Operation,
 * refusal and statefulness of `/v1/chat/completions` took 3.4 µs a call, and 3 KB of garbage.)
 *
 * @param decide pure
 */
export function rememberedByPath<T>(
  decide: (method: string, path: string) => T,
): (method: string, path: string) => T {
  const known = new Map<string, Map<string, T>>(methods.map((method) => [method, new Map()]));
  return (method, path) => {
    const paths = known.get(method);
    if (paths === undefined || path.length > maxPathLength) return decide(method, path);
    const found = paths.get(path);
    if (found !== undefined) return found;
    const decided = decide(method, path);
    if (paths.size >= maxPaths) paths.clear();
    paths.set(path, decided);
    return decided;
  };
}
