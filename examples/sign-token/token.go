// A token for a user of one's own site (JWT, HS256), with nothing but Go.
package main

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"time"
)

func signToken(secret string, claims map[string]any, ttl time.Duration) (string, error) {
	claims["exp"] = time.Now().Add(ttl).Unix()
	body, err := json.Marshal(claims)
	if err != nil {
		return "", err
	}
	part := base64.RawURLEncoding.EncodeToString
	unsigned := part([]byte(`{"alg":"HS256","typ":"JWT"}`)) + "." + part(body)
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(unsigned))
	return unsigned + "." + part(mac.Sum(nil)), nil
}

func main() {
	claims := map[string]any{"sub": "alice", "name": "Alice", "level": "vip", "rooms": []string{"show"}}
	token, err := signToken(os.Getenv("BARRAGE__AUTH__HMAC_SECRET"), claims, time.Hour)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println(token)
}
