// Example: Handling standardized IETF rate limit headers
async function fetchWithExponentialBackoff(url, options, retries = 3) {
  const response = await fetch(url, options);
  
  if (response.status === 429) {
    const resetTime = response.headers.get('ratelimit-reset');
    
    if (retries > 0 && resetTime) {
      // Calculate delay based on Unix timestamp provided in header
      const delayMs = (parseInt(resetTime, 10) * 1000) - Date.now();
      const safeDelay = Math.max(delayMs, 1000); // Minimum 1 second wait
      
      console.warn(`Rate limit hit. Retrying in ${safeDelay}ms...`);
      await new Promise(resolve => setTimeout(resolve, safeDelay));
      
      return fetchWithExponentialBackoff(url, options, retries - 1);
    }
    throw new Error('Upstream API rate limit exceeded. Out of retries.');
  }
  
  return response;
}
