// What does the buyer's bank want of them, and where?
//
// Gateways tell it in Stripe's words. Only an address can be followed from here: a gateway that wants
// its own script in the page is used by shops that load it.

/// The words for it, and the address to go to, if there is one that is safe to follow.
export function actionOf({ next_action: next }) {
  const url = safe(next?.redirect_to_url?.url);
  if (url) {
    return { url, text: "Before it pays, it asks you to confirm: usually in its app, or with a code that it sends you. Afterwards you come back here." };
  }
  return { url: null, text: "Please confirm the payment in your bank's app or by the message that it sent you. This page goes on by itself once you have." };
}

function safe(url) {
  try {
    const { protocol, origin, href } = new URL(url, location.origin);
    return protocol === "https:" || origin === location.origin ? href : null;
  } catch {
    return null;
  }
}
