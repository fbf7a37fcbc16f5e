<?php
// Publishes with Symfony's Mercure component. `mercure.php URL TOKEN` prints the ids of two updates.
require '/usr/share/php/Symfony/Component/Mercure/autoload.php';
require '/usr/share/php/Symfony/Component/HttpClient/autoload.php';

use Symfony\Component\HttpClient\HttpClient;
use Symfony\Component\Mercure\Hub;
use Symfony\Component\Mercure\Jwt\StaticTokenProvider;
use Symfony\Component\Mercure\Update;

[, $url, $token] = $argv;
$hub = new Hub($url, new StaticTokenProvider($token), null, $url, HttpClient::create());
echo $hub->publish(new Update('https://example.com/books/1', json_encode(['status' => 'sold out']))), "\n";
$topics = ['https://example.com/books/1', 'https://example.com/users/42/books'];
echo $hub->publish(new Update($topics, "two\nlines", true, 'urn:book:1', 'sale', 4000)), "\n";
