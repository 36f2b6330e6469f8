// Where do we keep a visitor's place in a waitlist? Its id is all it takes, and it must outlive the
// tab: an offer may come hours later.

const storageKey = (event) => `waitlist:${event}`;

export function rememberedEntry(event) {
  try {
    return localStorage.getItem(storageKey(event));
  } catch {
    return null; // a browser that keeps nothing
  }
}

export function rememberEntry(event, entry) {
  try {
    if (entry === null) localStorage.removeItem(storageKey(event));
    else localStorage.setItem(storageKey(event), entry);
  } catch {
    // The page's address is enough.
  }
}

export const entryUrl = (event, entry) => `/offers/${encodeURIComponent(event)}/${encodeURIComponent(entry)}`;
