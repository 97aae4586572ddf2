// An independent client of WebTransport: joins a room, says what it is told to, reads comments until it has seen enough,
// then comes back from the last id and must not see any of them again. Exit code 0 when all of that held.
//
//	go run . -url https://127.0.0.1:8443 -room lobby -read 100 -say hello [-datagrams]
package main

import (
	"bufio"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"net/url"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
	"github.com/quic-go/quic-go/quicvarint"
	"github.com/quic-go/webtransport-go"
)

type comment struct {
	ID      string `json:"id"`
	Content string `json:"content"`
}

type message struct {
	Type     string    `json:"type"`
	Comments []comment `json:"comments"`
	History  []comment `json:"history"`
	Omitted  int       `json:"omitted"`
	Status   string    `json:"status"`
}

type session struct {
	*webtransport.Session
	stream *webtransport.Stream
	reader *bufio.Reader
}

func open(ctx context.Context, base, query, hash string) (*session, error) {
	believed := func(certificates [][]byte, _ [][]*x509.Certificate) error {
		sum := sha256.Sum256(certificates[0])
		if hash != "" && hex.EncodeToString(sum[:]) != hash {
			return errors.New("the server shows another certificate")
		}
		return nil
	}
	dialer := webtransport.Dialer{
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true, VerifyPeerCertificate: believed, NextProtos: []string{http3.NextProtoH3}},
		QUICConfig:      &quic.Config{EnableDatagrams: true, EnableStreamResetPartialDelivery: true},
	}
	response, opened, err := dialer.Dial(ctx, base+"/wt?"+query, nil)
	if err != nil {
		return nil, err
	}
	if response.StatusCode != 200 {
		return nil, fmt.Errorf("the server answers %d", response.StatusCode)
	}
	stream, err := opened.OpenStreamSync(ctx)
	if err != nil {
		return nil, err
	}
	s := &session{opened, stream, bufio.NewReader(stream)}
	return s, s.send(map[string]any{"type": "heartbeat"})
}

func (s *session) send(fields map[string]any) error {
	body, err := json.Marshal(fields)
	if err != nil {
		return err
	}
	_, err = s.stream.Write(append(quicvarint.Append(nil, uint64(len(body))), body...))
	return err
}

func (s *session) next() (message, error) {
	var read message
	length, err := quicvarint.Read(s.reader)
	if err != nil {
		return read, err
	}
	body := make([]byte, length)
	if _, err := io.ReadFull(s.reader, body); err != nil {
		return read, err
	}
	return read, json.Unmarshal(body, &read)
}

// batches passes on what comes beside the stream, each behind a number of four bytes.
func (s *session) batches(ctx context.Context, to chan<- message) {
	pass := func(batch []byte) {
		var read message
		if len(batch) > 4 && json.Unmarshal(batch[4:], &read) == nil {
			to <- read
		}
	}
	go func() {
		for {
			batch, err := s.ReceiveDatagram(ctx)
			if err != nil {
				return
			}
			pass(batch)
		}
	}()
	go func() {
		for {
			stream, err := s.AcceptUniStream(ctx)
			if err != nil {
				return
			}
			if batch, err := io.ReadAll(stream); err == nil {
				pass(batch)
			}
		}
	}()
}

func main() {
	base := flag.String("url", "https://127.0.0.1:8080", "where the server is")
	room := flag.String("room", "lobby", "the room")
	user := flag.String("user", "go", "the identity, on a development server")
	token := flag.String("token", "", "the identity, elsewhere")
	hash := flag.String("hash", "", "the certificate's SHA-256, in hexadecimal")
	want := flag.Int("read", 10, "comments to read")
	say := flag.String("say", "", "a comment to say first")
	times := flag.Int("times", 1, "how often to say it, each time with another number")
	datagrams := flag.Bool("datagrams", false, "batches by datagram")
	flag.Parse()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()

	query := url.Values{"room_id": {*room}, "max_per_s": {"200"}}
	if *token != "" {
		query.Set("token", *token)
	} else {
		query.Set("user_id", *user)
	}
	if *datagrams {
		query.Set("datagrams", "true")
	}
	s, err := open(ctx, *base, query.Encode(), *hash)
	if err != nil {
		log.Fatal(err)
	}
	messages := make(chan message, 1024)
	s.batches(ctx, messages)
	go func() {
		for {
			read, err := s.next()
			if err != nil {
				log.Print("the stream ended: ", err)
				close(messages)
				return
			}
			messages <- read
		}
	}()
	seen, last, omitted, acked := map[string]bool{}, "", 0, *say == ""
	// A lost datagram tells nobody how many comments it had, so this ends by time.
	enough := time.After(time.Hour)
	if *datagrams {
		enough = time.After(15 * time.Second)
	}
reading:
	for len(seen)+omitted < *want || !acked {
		var read message
		select {
		case <-enough:
			break reading
		case next, open := <-messages:
			if !open {
				log.Fatal("the session ended too early")
			}
			read = next
		}
		switch read.Type {
		case "room_joined":
			if *say != "" {
				go func() {
					for n := range *times {
						comment := map[string]any{"type": "comment", "room_id": *room, "content": fmt.Sprint(*say, " ", n)}
						if err := s.send(comment); err != nil {
							log.Fatal(err)
						}
					}
				}()
			}
		case "comment_ack":
			acked = acked || read.Status == "accepted"
		case "comments":
			omitted += read.Omitted
			for _, c := range read.Comments {
				seen[c.ID], last = true, c.ID
			}
		case "error":
			log.Fatalf("%+v", read)
		}
	}
	if !acked || len(seen) == 0 {
		log.Fatal("nothing was read")
	}
	_ = s.CloseWithError(0, "")

	query.Set("since_id", last)
	again, err := open(ctx, *base, query.Encode(), *hash)
	if err != nil {
		log.Fatal("coming back: ", err)
	}
	for {
		read, err := again.next()
		if err != nil {
			log.Fatal("coming back: ", err)
		}
		if read.Type == "room_joined" {
			for _, c := range read.History {
				if seen[c.ID] {
					log.Fatal("a comment came twice: ", c.ID)
				}
			}
			break
		}
	}
	_ = again.CloseWithError(0, "")
	fmt.Printf("read %d, omitted %d, resumed after %s\n", len(seen), omitted, last)
}
