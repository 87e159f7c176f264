//! User-Agents of programs that identify themselves as bots.

use super::check;

#[test]
fn browsers_that_programs_drive_are_bots() {
    check(
        "
        bot Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) HeadlessChrome/126.0.6478.61 Safari/537.36
        bot Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/537.36 (KHTML, like Gecko) HeadlessChrome/126.0.0.0 Safari/537.36
        bot Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) HeadlessChrome/126.0.0.0 Safari/537.36
        bot Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) HeadlessChrome/126.0.0.0 Safari/537.36 HeadlessEdg/126.0.0.0
        bot Mozilla/5.0 (Unknown; Linux x86_64) AppleWebKit/538.1 (KHTML, like Gecko) PhantomJS/2.1.1 Safari/538.1
        bot Mozilla/5.0 (X11; Linux x86_64; rv:59.0) Gecko/20100101 SlimerJS/1.0.0
        bot Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36 Puppeteer
        bot Playwright/1.44.0 (x64; ubuntu 22.04) node/20.11
        bot Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36 Selenium/4.21
        bot Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/537.36 (KHTML, like Gecko) Cypress/13.11.0 Chrome/118.0.5993.159 Electron/27.3.10 Safari/537.36
        bot Mozilla/5.0 (linux) AppleWebKit/537.36 (KHTML, like Gecko) jsdom/24.1.0
        bot Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) HappyDOM/14.12.0
        bot Mozilla/5.0 (compatible; HtmlUnit/4.2)
        bot Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/602.1 (KHTML, like Gecko) splash Version/10.0 Safari/602.1
        bot Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36 Prerender (+https://github.com/prerender/prerender)
        ",
    );
}

#[test]
fn crawlers_of_search_engines_are_bots() {
    check(
        "
        bot Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)
        bot Mozilla/5.0 AppleWebKit/537.36 (KHTML, like Gecko; compatible; Googlebot/2.1; +http://www.google.com/bot.html) Chrome/126.0.6478.61 Safari/537.36
        bot Mozilla/5.0 (Linux; Android 6.0.1; Nexus 5X Build/MMB29P) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.6478.61 Mobile Safari/537.36 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)
        bot Mozilla/5.0 (compatible; Google-InspectionTool/1.0;)
        bot AdsBot-Google (+http://www.google.com/adsbot.html)
        bot Mediapartners-Google
        bot Mozilla/5.0 (iPhone; CPU iPhone OS 9_1 like Mac OS X) AppleWebKit/601.1.46 (KHTML, like Gecko) Version/9.0 Mobile/13B143 Safari/601.1 (compatible; AdsBot-Google-Mobile; +http://www.google.com/mobile/adsbot.html)
        bot Mozilla/5.0 AppleWebKit/537.36 (KHTML, like Gecko; compatible; bingbot/2.0; +http://www.bing.com/bingbot.htm) Chrome/116.0.1938.76 Safari/537.36
        bot Mozilla/5.0 (Windows NT 6.1; WOW64) AppleWebKit/534+ (KHTML, like Gecko) BingPreview/1.0b
        bot DuckDuckBot/1.1; (+http://duckduckgo.com/duckduckbot.html)
        bot Mozilla/5.0 (compatible; YandexBot/3.0; +http://yandex.com/bots)
        bot Mozilla/5.0 (compatible; YandexImages/3.0; +http://yandex.com/bots)
        bot Mozilla/5.0 (compatible; Baiduspider/2.0; +http://www.baidu.com/search/spider.html)
        bot Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_5) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/13.1.1 Safari/605.1.15 (Applebot/0.1; +http://www.apple.com/go/applebot)
        bot Mozilla/5.0 (compatible; Yahoo! Slurp; http://help.yahoo.com/help/us/ysearch/slurp)
        bot Sogou web spider/4.0(+http://www.sogou.com/docs/help/webmasters.htm#07)
        bot Mozilla/5.0 (compatible; SeznamBot/4.0; +https://o-seznam.cz/napoveda/vyhledavani/en/seznambot-crawler/)
        bot Mozilla/5.0 (Linux; Android 7.0;) AppleWebKit/537.36 (KHTML, like Gecko) Mobile Safari/537.36 (compatible; PetalBot;+https://webmaster.petalsearch.com/site/petalbot)
        bot Mozilla/5.0 (compatible; archive.org_bot +http://archive.org/details/archive.org_bot)
        bot ia_archiver (+http://www.alexa.com/site/help/webmasters; crawler@alexa.com)
        ",
    );
}

#[test]
fn crawlers_of_language_models_are_bots() {
    check(
        "
        bot Mozilla/5.0 AppleWebKit/537.36 (KHTML, like Gecko; compatible; GPTBot/1.1; +https://openai.com/gptbot)
        bot Mozilla/5.0 AppleWebKit/537.36 (KHTML, like Gecko; compatible; ChatGPT-User/1.0; +https://openai.com/bot)
        bot Mozilla/5.0 AppleWebKit/537.36 (KHTML, like Gecko; compatible; ClaudeBot/1.0; +claudebot@anthropic.com)
        bot CCBot/2.0 (https://commoncrawl.org/faq/)
        bot Mozilla/5.0 AppleWebKit/537.36 (KHTML, like Gecko; compatible; PerplexityBot/1.0; +https://perplexity.ai/perplexitybot)
        bot Mozilla/5.0 (Linux; Android 5.0) AppleWebKit/537.36 (KHTML, like Gecko) Mobile Safari/537.36 (compatible; Bytespider; spider-feedback@bytedance.com)
        bot Mozilla/5.0 AppleWebKit/537.36 (KHTML, like Gecko; compatible; Amazonbot/0.1; +https://developer.amazon.com/support/amazonbot) Chrome/119.0.6045.214 Safari/537.36
        bot meta-externalagent/1.1 (+https://developers.facebook.com/docs/sharing/webmasters/crawler)
        ",
    );
}

#[test]
fn link_previews_are_bots() {
    check(
        "
        bot facebookexternalhit/1.1 (+http://www.facebook.com/externalhit_uatext.php)
        bot Twitterbot/1.0
        bot LinkedInBot/1.0 (compatible; Mozilla/5.0; Apache-HttpClient +http://www.linkedin.com)
        bot Slackbot-LinkExpanding 1.0 (+https://api.slack.com/robots)
        bot Slackbot 1.0 (+https://api.slack.com/robots)
        bot Mozilla/5.0 (compatible; Discordbot/2.0; +https://discordapp.com)
        bot WhatsApp/2.23.20.0
        bot WhatsApp/2.2421.6 N
        bot TelegramBot (like TwitterBot)
        bot Mozilla/5.0 (Windows NT 6.1; WOW64) SkypeUriPreview Preview/0.5
        bot Mozilla/5.0 (compatible; Pinterestbot/1.0; +http://www.pinterest.com/bot.html)
        bot http.rb/5.1.1 (Mastodon/4.2.9; +https://mastodon.social/)
        ",
    );
}

#[test]
fn audits_and_monitors_are_bots() {
    check(
        "
        bot Mozilla/5.0 (compatible; AhrefsBot/7.0; +http://ahrefs.com/robot/)
        bot Mozilla/5.0 (compatible; SemrushBot/7~bl; +http://www.semrush.com/bot.html)
        bot Mozilla/5.0 (compatible; MJ12bot/v1.4.8; http://mj12bot.com/)
        bot Mozilla/5.0 (compatible; DotBot/1.2; +https://opensiteexplorer.org/dotbot; help@moz.com)
        bot Screaming Frog SEO Spider/20.1
        bot Mozilla/5.0+(compatible; UptimeRobot/2.0; http://www.uptimerobot.com/)
        bot Pingdom.com_bot_version_1.4_(http://www.pingdom.com/)
        bot Mozilla/5.0 (Unknown; Linux x86_64) AppleWebKit/538.1 (KHTML, like Gecko) PingdomTMS/0.8.5 Safari/538.1
        bot Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/98.0.4758.102 Safari/537.36 StatusCake
        bot Mozilla/5.0 (Linux; Android 11; moto g power (2022)) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/125.0.0.0 Mobile Safari/537.36 Chrome-Lighthouse
        bot Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/125.0.0.0 Safari/537.36 PTST/240513.200311
        bot W3C_Validator/1.3 http://validator.w3.org/services
        bot Mozilla/5.0 (compatible; CensysInspect/1.1; +https://about.censys.io/)
        bot Scrapy/2.11.2 (+https://scrapy.org)
        bot My-Crawler/1.0
        ",
    );
}
