/** What a token says about its holder, unverified: read only to choose what to show and where to keep it. Pure. */

export interface Claims {
  sub?: string;
  name?: string;
  level?: string;
  rooms?: unknown[];
}

/** The claims of a JWT (RFC 7519); null when the text is no JWT. */
export function claimsOf(token: string): Claims | null {
  const [, payload, signature] = token.split(".");
  if (payload === undefined || signature === undefined) return null;
  try {
    const bytes = Uint8Array.from(atob(payload.replaceAll("-", "+").replaceAll("_", "/")), (c) => c.charCodeAt(0));
    const claims: unknown = JSON.parse(new TextDecoder().decode(bytes));
    return typeof claims === "object" ? claims : null;
  } catch {
    return null;
  }
}
