// Prints an answer's events, one JSON object per line: ask 'How are you?' [SOCKET]
// Build: g++ -std=c++17 -o ask ask.cpp. A real program hands the lines to its JSON library.
#include <cstdio>
#include <iostream>
#include <string>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static std::string quoted(const std::string &text) {
    std::string result = "\"";
    for (unsigned char c : text) {
        char escaped[8];
        if (c == '"' || c == '\\' || c < 0x20) {
            std::snprintf(escaped, sizeof escaped, "\\u%04x", c);
            result += escaped;
        } else {
            result += static_cast<char>(c);
        }
    }
    return result + '"';
}

int main(int count, char **arguments) {
    if (count < 2) {
        std::cerr << "usage: ask TEXT [SOCKET]\n";
        return 2;
    }
    const std::string path = count > 2 ? arguments[2] : "/run/rkllmd/rkllmd.sock";
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    if (path.size() >= sizeof address.sun_path) {
        std::cerr << "the socket's path is too long\n";
        return 2;
    }
    path.copy(address.sun_path, path.size());
    const int connection = socket(AF_UNIX, SOCK_STREAM, 0);
    if (connect(connection, reinterpret_cast<sockaddr *>(&address), sizeof address) != 0) {
        std::perror(path.c_str());
        return 7;
    }
    const std::string request = "{\"op\":\"chat\",\"text\":" + quoted(arguments[1]) + "}\n";
    if (write(connection, request.data(), request.size()) != ssize_t(request.size())) {
        std::perror("write");
        return 7;
    }
    shutdown(connection, SHUT_WR);  // no more requests: the daemon closes after the answer
    char buffer[65536];
    for (ssize_t length; (length = read(connection, buffer, sizeof buffer)) > 0;)
        std::cout.write(buffer, length);
    close(connection);
}
