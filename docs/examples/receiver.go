// Receives webhooks and the moderation hook of Barrage: verifies the signature, refuses what is older than five minutes.
//
//	SECRET=whsec_… go run receiver.go      # listens on 127.0.0.1:9000, or on PORT
package main

import (
	"cmp"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
)

var key = keyOf(os.Getenv("SECRET"))

func keyOf(secret string) []byte {
	if text, ok := strings.CutPrefix(secret, "whsec_"); ok {
		if key, err := base64.StdEncoding.DecodeString(text); err == nil {
			return key
		}
	}
	return []byte(secret)
}

// isGenuine says whether one of the signatures is ours, and the call is not replayed.
func isGenuine(header http.Header, body []byte) bool {
	at, err := strconv.ParseInt(header.Get("webhook-timestamp"), 10, 64)
	if err != nil || time.Since(time.Unix(at, 0)).Abs() > 5*time.Minute {
		return false
	}
	mac := hmac.New(sha256.New, key)
	fmt.Fprintf(mac, "%s.%d.", header.Get("webhook-id"), at)
	mac.Write(body)
	ours := "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))
	for _, given := range strings.Split(header.Get("webhook-signature"), " ") {
		if hmac.Equal([]byte(given), []byte(ours)) {
			return true
		}
	}
	return false
}

type item struct {
	ID      string   `json:"id"`
	Text    string   `json:"text,omitempty"`
	Context []string `json:"context,omitempty"`
	Verdict string   `json:"verdict,omitempty"`
}

func main() {
	http.HandleFunc("POST /", func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(io.LimitReader(r.Body, 1<<20))
		if err != nil || !isGenuine(r.Header, body) {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		var call struct {
			Items []item          `json:"items"`
			Type  string          `json:"type"`
			Data  json.RawMessage `json:"data"`
		}
		if json.Unmarshal(body, &call) != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		answers := []item{}
		for _, asked := range call.Items { // the moderation hook
			verdict := "allow"
			// Links wait for a moderator, and so does what the room said a moment ago.
			if strings.Contains(asked.Text, "http") || slices.Contains(asked.Context, asked.Text) {
				verdict = "hold"
			}
			answers = append(answers, item{ID: asked.ID, Verdict: verdict})
		}
		if call.Items == nil { // a webhook: the same id may come again
			log.Println(r.Header.Get("webhook-id"), call.Type, string(call.Data))
		}
		w.Header().Set("content-type", "application/json")
		json.NewEncoder(w).Encode(map[string]any{"items": answers})
	})
	log.Fatal(http.ListenAndServe("127.0.0.1:"+cmp.Or(os.Getenv("PORT"), "9000"), nil))
}
